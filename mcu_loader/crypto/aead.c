// aead.c
//
// One message per context: then Monocypher's incremental interface is RFC 8439.

#include "aead.h"

#include "monocypher.h"

int
aead_open(uint8_t *text, size_t size, const uint8_t tag[16],
          const uint8_t key[32], const uint8_t nonce[12],
          const uint8_t *aad, size_t aad_size)
{
    crypto_aead_ctx ctx;
    crypto_aead_init_ietf(&ctx, key, nonce);
    const int mismatch =
        crypto_aead_read(&ctx, text, tag, aad, aad_size, text, size);
    crypto_wipe(&ctx, sizeof ctx);
    return mismatch;
}
