// hkdf.c

#include "hkdf.h"

#include "../loader.h"
#include "../mem.h"
#include "monocypher.h"
#include "sha512.h"

// One HMAC at a time, because there is one hash at a time.
NOINIT static uint8_t pad[128];

static void
pad_with(uint8_t value)
{
    for (size_t i = 0; i < sizeof pad; i++) {
        pad[i] ^= value;
    }
}

static void
hmac_init(const uint8_t *key, size_t key_size)
{
    memset(pad, 0, sizeof pad);
    sha512_init();
    if (key_size > sizeof pad) {
        sha512_update(key, key_size);
        sha512_final(pad);
        sha512_init();
    } else {
        memcpy(pad, key, key_size);
    }
    pad_with(0x36);
    sha512_update(pad, sizeof pad);
}

static void
hmac_final(uint8_t mac[64])
{
    sha512_final(mac);
    pad_with(0x36 ^ 0x5c);
    sha512_init();
    sha512_update(pad, sizeof pad);
    sha512_update(mac, 64);
    sha512_final(mac);
    crypto_wipe(pad, sizeof pad);
}

void
hkdf_sha512(uint8_t *out, size_t out_size,
            const uint8_t *ikm, size_t ikm_size,
            const uint8_t *salt, size_t salt_size,
            const uint8_t *info, size_t info_size)
{
    static const uint8_t first_block = 1;
    uint8_t block[64];

    hmac_init(salt, salt_size);
    sha512_update(ikm, ikm_size);
    hmac_final(block); // the pseudorandom key

    hmac_init(block, sizeof block);
    sha512_update(info, info_size);
    sha512_update(&first_block, 1);
    hmac_final(block);

    memcpy(out, block, out_size < HKDF_MAX_OUT ? out_size : HKDF_MAX_OUT);
    crypto_wipe(block, sizeof block);
}
