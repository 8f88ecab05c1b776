// update.c

#include "update.h"

#include "app.h"
#include "crypto/aead.h"
#include "crypto/ed25519.h"
#include "crypto/hkdf.h"
#include "crypto/x25519.h"
#include "flash.h"
#include "indicator.h"
#include "machine.h"
#include "mem.h"
#include "monocypher.h"

#define WRAP_INFO_SIZE (WRAP_DOMAIN_SIZE + 16 + KEY_ID_SIZE)
#define WRAP_AAD_SIZE (4 + 16 + NONCE_SIZE)

NOINIT __attribute__((aligned(8))) struct chunk update_chunk;

static const uint8_t update_magic[UPDATE_MAGIC_SIZE] = UPDATE_MAGIC;
static const uint8_t signature_domain[SIGNATURE_DOMAIN_SIZE] = SIGNATURE_DOMAIN;
static const uint8_t wrap_domain[WRAP_DOMAIN_SIZE] = WRAP_DOMAIN;

static void
store_le32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++, value >>= 8) {
        at[i] = (uint8_t)value;
    }
}

static int
key_is_blank(const uint8_t key[32])
{
    return !mem_differs_from(key, 0x00, 32) || !mem_differs_from(key, 0xff, 32);
}

static int
key_is_known_to_all(const uint8_t key[32])
{
    if (key_is_blank(key)) {
        return 1;
    }
    for (uint32_t i = 0; i < published_key_count; i++) {
        if (!mem_differs(key, published_keys[i], 32)) {
            return 1;
        }
    }
    return 0;
}

// With a key that everybody knows, a signature proves nothing.
static int
keys_are_usable(void)
{
    const uint32_t verify_keys = info_block.verify_key_count;
    const uint32_t device_keys = info_block.device_key_count;
    if (verify_keys - 1 >= VERIFY_KEY_SLOTS ||
        device_keys - 1 >= DEVICE_KEY_SLOTS) {
        return 0;
    }
    for (uint32_t i = 0; i < verify_keys; i++) {
        const uint8_t *key = loader_keys.verify[i];
        if (key_is_known_to_all(key)) {
            return 0;
        }
    }
    for (uint32_t i = 0; i < device_keys; i++) {
        const struct device_key *key = &loader_keys.device[i];
        if (key_is_known_to_all(key->secret) ||
            key_is_known_to_all(key->public_key)) {
            return 0;
        }
    }
    return 1;
}

// Every size against what it must fit into, by subtraction from the larger.
static int
sizes_fit(const struct update_header *header)
{
    const uint32_t chunk = header->chunk_size;
    const uint32_t image = header->image_size;
    if (chunk < MIN_CHUNK_SIZE || chunk > MAX_CHUNK_SIZE ||
        (chunk & (chunk - 1))) {
        return 0;
    }
    if (image == 0 || image > info_block.app.size - CARRY_SIZE) {
        return 0;
    }
    const uint32_t tags = ((image - 1) / chunk + 1) * TAG_SIZE;
    return header->payload_size <= info_block.staging.size - HEADER_SIZE &&
           header->payload_size >= image &&
           header->payload_size - image == tags;
}

static const uint8_t *
find_verify_key(const uint8_t key_id[KEY_ID_SIZE])
{
    for (uint32_t i = 0; i < info_block.verify_key_count; i++) {
        if (!mem_differs(key_id, info_block.verify_key_ids[i], KEY_ID_SIZE)) {
            return loader_keys.verify[i];
        }
    }
    return 0;
}

static enum reason
signature_fault(const struct update *update)
{
    const struct update_header *header = &update->message.header;
    const uint8_t *key = find_verify_key(header->signing_key_id);
    if (!key) {
        return REASON_UNKNOWN_SIGNING_KEY;
    }
    machine_feed_watchdog();
    const uint32_t answer =
        ed25519_verify(header->signature, key, (const uint8_t *)&update->message,
                       SIGNATURE_DOMAIN_SIZE + SIGNED_SIZE);
    machine_feed_watchdog();
    return answer == ED25519_GOOD ? REASON_NONE : REASON_SIGNATURE;
}

// Unused recipients are all zero, and behind the used ones.
static int
recipients_are_in_order(const struct update_header *header)
{
    int ended = 0;
    for (uint32_t i = 0; i < RECIPIENT_SLOTS; i++) {
        const struct recipient *entry = &header->recipients[i];
        if (!mem_differs_from(entry->key_id, 0, KEY_ID_SIZE)) {
            ended = 1;
        }
        if (ended && mem_differs_from(entry, 0, sizeof *entry)) {
            return 0;
        }
    }
    return 1;
}

static enum reason
identity_fault(const struct update_header *header)
{
    if (mem_differs_from(header->device_bindings, 0,
                         sizeof header->device_bindings) ||
        mem_differs_from(header->reserved, 0, sizeof header->reserved) ||
        (header->flags & ~FLAG_ALLOW_DOWNGRADE)) {
        return REASON_RESERVED_NOT_ZERO;
    }
    if (header->compression_id) {
        return REASON_COMPRESSION;
    }
    if (!recipients_are_in_order(header)) {
        return REASON_RESERVED_NOT_ZERO;
    }
    if (mem_differs(header->product_id, info_block.product_id, 16)) {
        return REASON_PRODUCT;
    }
    if (header->chip != info_block.chip) {
        return REASON_CHIP;
    }
    if (mem_differs(header->layout_id, info_block.layout_id, 16)) {
        return REASON_LAYOUT;
    }
    if (header->app_address != info_block.app.start ||
        header->staging_address != info_block.staging.start) {
        return REASON_ADDRESS;
    }
    return REASON_NONE;
}

static enum reason
age_fault(const struct update_header *header, const struct mark_record *newest)
{
    if (header->security_counter < newest->floor_counter) {
        return REASON_COUNTER_TOO_OLD;
    }
    if (header->security_counter == newest->floor_counter &&
        header->version < newest->floor_version &&
        !(header->flags & FLAG_ALLOW_DOWNGRADE)) {
        return REASON_VERSION_TOO_OLD;
    }
    return REASON_NONE;
}

// Everything the header alone can be refused for. Asked when it is looked at
// and again before the first erase.
NOINLINE static enum reason
header_fault(const struct update *update, const struct mark_record *newest)
{
    const struct update_header *header = &update->message.header;
    if (!keys_are_usable()) {
        return REASON_KEYS_UNUSABLE;
    }
    if (header->format_version != FORMAT_VERSION) {
        return REASON_FORMAT_VERSION;
    }
    if (header->header_size != HEADER_SIZE) {
        return REASON_HEADER_SIZE;
    }
    if (!sizes_fit(header)) {
        return REASON_SIZES;
    }
    enum reason reason = signature_fault(update);
    if (reason == REASON_NONE) {
        reason = identity_fault(header);
    }
    if (reason == REASON_NONE) {
        reason = age_fault(header, newest);
    }
    return reason;
}

// The key that wraps the content key (DESIGN.md, "Key agreement").
NODISCARD static int
derive_kek(uint8_t kek[32], const struct update_header *header,
           const struct device_key *key, const uint8_t key_id[KEY_ID_SIZE])
{
    uint8_t shared[32];
    uint8_t salt[64];
    uint8_t wrap_info[WRAP_INFO_SIZE];
    memcpy(salt, header->ephemeral_public_key, 32);
    memcpy(salt + 32, key->public_key, 32);
    memcpy(wrap_info, wrap_domain, WRAP_DOMAIN_SIZE);
    memcpy(wrap_info + WRAP_DOMAIN_SIZE, header->product_id, 16);
    memcpy(wrap_info + WRAP_DOMAIN_SIZE + 16, key_id, KEY_ID_SIZE);
    const int mismatch =
        x25519_shared(shared, key->secret, header->ephemeral_public_key);
    hkdf_sha512(kek, 32, shared, sizeof shared, salt, sizeof salt, wrap_info,
                sizeof wrap_info);
    crypto_wipe(shared, sizeof shared);
    return mismatch;
}

NODISCARD static int
unwrap_cek(struct update *update, const struct recipient *entry,
           const struct device_key *key)
{
    static const uint8_t nonce[NONCE_SIZE] = {0}; // the KEK is used once
    const struct update_header *header = &update->message.header;
    uint8_t kek[32];
    uint8_t aad[WRAP_AAD_SIZE];
    store_le32(aad, header->format_version);
    memcpy(aad + 4, header->product_id, 16);
    memcpy(aad + 20, header->base_nonce, NONCE_SIZE);
    memcpy(update->cek, entry->wrapped_cek, sizeof update->cek);
    int mismatch = derive_kek(kek, header, key, entry->key_id);
    mismatch |= aead_open(update->cek, sizeof update->cek, entry->wrap_tag, kek,
                          nonce, aad, sizeof aad);
    crypto_wipe(kek, sizeof kek);
    return mismatch;
}

NODISCARD static enum reason
agree_on_key(struct update *update)
{
    const struct update_header *header = &update->message.header;
    for (uint32_t i = 0; i < RECIPIENT_SLOTS; i++) {
        const struct recipient *entry = &header->recipients[i];
        for (uint32_t k = 0; k < info_block.device_key_count; k++) {
            if (mem_differs(entry->key_id, info_block.device_key_ids[k],
                            KEY_ID_SIZE)) {
                continue;
            }
            machine_feed_watchdog();
            return unwrap_cek(update, entry, &loader_keys.device[k])
                       ? REASON_KEY_AGREEMENT
                       : REASON_NONE;
        }
    }
    return REASON_UNKNOWN_RECIPIENT;
}

static uint32_t
payload_address(void)
{
    return info_block.staging.start + HEADER_SIZE;
}

NODISCARD static enum reason
check_payload_digest(const struct update_header *header)
{
    crypto_blake2b_ctx ctx;
    uint8_t digest[DIGEST_SIZE];
    uint32_t at = payload_address();
    uint32_t left = header->payload_size;
    crypto_blake2b_init(&ctx, sizeof digest);
    while (left) {
        const uint32_t take = min_u32(left, MAX_CHUNK_SIZE);
        if (flash_read(update_chunk.data, at, take) < 0) {
            return REASON_STAGING_UNREADABLE;
        }
        crypto_blake2b_update(&ctx, update_chunk.data, take);
        machine_feed_watchdog();
        at += take;
        left -= take;
    }
    crypto_blake2b_final(&ctx, digest);
    return mem_differs(digest, header->payload_digest, sizeof digest)
               ? REASON_PAYLOAD_DIGEST
               : REASON_NONE;
}

enum reason
update_open_chunk(const struct update *update, uint32_t index,
                  struct chunk *chunk)
{
    const struct update_header *header = &update->message.header;
    const uint32_t stride = header->chunk_size + TAG_SIZE;
    const uint32_t is_last = index + 1 == update->chunk_count;
    uint8_t nonce[NONCE_SIZE];
    uint8_t aad[8];

    chunk->size = is_last ? header->image_size - index * header->chunk_size
                          : header->chunk_size;
    if (flash_read(chunk->data, payload_address() + index * stride,
                   chunk->size + TAG_SIZE) < 0) {
        return REASON_STAGING_UNREADABLE;
    }
    store_le32(aad, index);
    store_le32(aad + 4, is_last);
    memcpy(nonce, header->base_nonce, NONCE_SIZE);
    for (uint32_t i = 0; i < 4; i++) {
        nonce[NONCE_SIZE - 4 + i] ^= aad[i];
    }
    machine_feed_watchdog();
    if (aead_open(chunk->data, chunk->size, chunk->data + chunk->size,
                  update->cek, nonce, aad, sizeof aad)) {
        return REASON_CHUNK_TAG;
    }
    return REASON_NONE;
}

// Opens every chunk once, so that nothing can go wrong half way for a reason
// that was there from the start.
NODISCARD static enum reason
check_image(const struct update *update)
{
    const struct update_header *header = &update->message.header;
    crypto_blake2b_ctx ctx;
    uint8_t digest[DIGEST_SIZE];
    uint32_t vectors[2] = {0, 0};
    crypto_blake2b_init(&ctx, sizeof digest);
    for (uint32_t i = 0; i < update->chunk_count; i++) {
        const enum reason reason = update_open_chunk(update, i, &update_chunk);
        if (reason != REASON_NONE) {
            return reason;
        }
        if (i == 0 && update_chunk.size >= sizeof vectors) {
            memcpy(vectors, update_chunk.data, sizeof vectors);
        }
        crypto_blake2b_update(&ctx, update_chunk.data, update_chunk.size);
    }
    crypto_blake2b_final(&ctx, digest);
    if (mem_differs(digest, header->image_digest, sizeof digest)) {
        return REASON_IMAGE_DIGEST;
    }
    return app_vectors_plausible(vectors, header->image_size)
               ? REASON_NONE
               : REASON_IMAGE_VECTORS;
}

NODISCARD static enum reason
check_payload(struct update *update)
{
    enum reason reason = agree_on_key(update);
    if (reason == REASON_NONE) {
        reason = check_payload_digest(&update->message.header);
    }
    if (reason == REASON_NONE) {
        reason = check_image(update);
    }
    return reason;
}

static void
prepare(struct update *update)
{
    const struct update_header *header = &update->message.header;
    memcpy(update->message.domain, signature_domain, SIGNATURE_DOMAIN_SIZE);
    crypto_blake2b(update->update_id, DIGEST_SIZE,
                   (const uint8_t *)&update->message,
                   SIGNATURE_DOMAIN_SIZE + SIGNED_SIZE);
    update->chunk_count = (header->image_size - 1) / header->chunk_size + 1;
}

static int
magic_is_there(const uint8_t *start)
{
    return !mem_differs(start, update_magic, UPDATE_MAGIC_SIZE);
}

uint32_t
update_look(struct update *update, const struct mark_record *newest,
            enum reason *reason)
{
    struct update_header *header = &update->message.header;
    const uint32_t at = info_block.staging.start;
    __attribute__((aligned(4))) uint8_t first[FLASH_WORD];

    *reason = REASON_NONE;
    if (flash_read(first, at, sizeof first) < 0 || !magic_is_there(first)) {
        return STAGED_NONE;
    }
    *reason = REASON_STAGING_UNREADABLE;
    memset(update, 0, sizeof *update);
    if (flash_read(header, at, sizeof *header) < 0 ||
        !magic_is_there(header->magic)) {
        return STAGED_REFUSED;
    }
    machine_long_work();
    memcpy(update->message.domain, signature_domain, SIGNATURE_DOMAIN_SIZE);
    *reason = header_fault(update, newest);
    if (*reason != REASON_NONE) {
        return STAGED_REFUSED;
    }
    prepare(update);
    indicator_busy();
    *reason = check_payload(update);
    return *reason == REASON_NONE ? STAGED_AUTHENTIC : STAGED_REFUSED;
}

uint32_t
update_recheck(const struct update *update, const struct mark_record *newest)
{
    // folded, not branched on: only REASON_NONE leaves the word as it is
    return STAGED_AUTHENTIC ^ (uint32_t)header_fault(update, newest);
}
