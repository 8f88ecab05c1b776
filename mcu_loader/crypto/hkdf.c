// hkdf.c

#include "hkdf.h"

#include "../mem.h"
#include "monocypher.h"
#include "sha512.h"

struct hmac {
    struct sha512 inner;
    uint8_t pad[128];
};

static void
pad_with(struct hmac *ctx, uint8_t value)
{
    for (size_t i = 0; i < sizeof ctx->pad; i++) {
        ctx->pad[i] ^= value;
    }
}

static void
hmac_init(struct hmac *ctx, const uint8_t *key, size_t key_size)
{
    memset(ctx->pad, 0, sizeof ctx->pad);
    sha512_init(&ctx->inner);
    if (key_size > sizeof ctx->pad) {
        sha512_update(&ctx->inner, key, key_size);
        sha512_final(&ctx->inner, ctx->pad);
        sha512_init(&ctx->inner);
    } else {
        memcpy(ctx->pad, key, key_size);
    }
    pad_with(ctx, 0x36);
    sha512_update(&ctx->inner, ctx->pad, sizeof ctx->pad);
}

static void
hmac_final(struct hmac *ctx, uint8_t mac[64])
{
    sha512_final(&ctx->inner, mac);
    pad_with(ctx, 0x36 ^ 0x5c);
    sha512_init(&ctx->inner);
    sha512_update(&ctx->inner, ctx->pad, sizeof ctx->pad);
    sha512_update(&ctx->inner, mac, 64);
    sha512_final(&ctx->inner, mac);
    crypto_wipe(ctx, sizeof *ctx);
}

void
hkdf_sha512(uint8_t *out, size_t out_size,
            const uint8_t *ikm, size_t ikm_size,
            const uint8_t *salt, size_t salt_size,
            const uint8_t *info, size_t info_size)
{
    static const uint8_t first_block = 1;
    struct hmac hmac;
    uint8_t block[64];

    hmac_init(&hmac, salt, salt_size);
    sha512_update(&hmac.inner, ikm, ikm_size);
    hmac_final(&hmac, block); // the pseudorandom key

    hmac_init(&hmac, block, sizeof block);
    sha512_update(&hmac.inner, info, info_size);
    sha512_update(&hmac.inner, &first_block, 1);
    hmac_final(&hmac, block);

    memcpy(out, block, out_size < HKDF_MAX_OUT ? out_size : HKDF_MAX_OUT);
    crypto_wipe(block, sizeof block);
}
