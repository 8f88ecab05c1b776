// update.h
//
// The staged update. Promises: staging is only read; its header is read once
// and only that copy is used; before the signature over all of it verifies
// nothing but magic, format, sizes and the choice of the key is looked at; a
// chunk is copied to RAM, authenticated there and decrypted there; content key
// and plaintext exist in tightly-coupled RAM only, all of which machine.h wipes
// on every way out.

#ifndef SPLITFLASH_UPDATE_H
#define SPLITFLASH_UPDATE_H

#include "decide.h"

struct update {
    struct {
        uint8_t domain[SIGNATURE_DOMAIN_SIZE]; // signed together with
        struct update_header header;
    } message;
    uint8_t update_id[DIGEST_SIZE];
    uint8_t cek[32];
    uint32_t chunk_count;
};

// One chunk, sealed or plain, with room for its tag.
struct chunk {
    uint8_t data[MAX_CHUNK_SIZE + TAG_SIZE];
    uint32_t size; // of the plaintext
};

// STAGED_NONE, STAGED_REFUSED with a reason, or STAGED_AUTHENTIC: then every
// byte of the payload has been authenticated and the content key is ready.
uint32_t update_look(struct update *update,
                     const struct mark_record *newest, enum reason *reason);

// Judges the header once more, from scratch: STAGED_AUTHENTIC or not. For the
// one who is about to erase something.
uint32_t update_recheck(const struct update *update,
                        const struct mark_record *newest);

// Plain and authentic in `chunk`, or not REASON_NONE and nothing in it.
NODISCARD enum reason update_open_chunk(const struct update *update,
                                        uint32_t index, struct chunk *chunk);

// The one chunk buffer of the loader.
extern struct chunk update_chunk;

#endif
