// sha512.h
//
// SHA-512 (FIPS 180-4). On the chip it serves Ed25519 and HKDF only; bulk data
// go through BLAKE2b, which costs the Cortex-M7 less than half.

#ifndef SPLITFLASH_SHA512_H
#define SPLITFLASH_SHA512_H

#include <stddef.h>
#include <stdint.h>

struct sha512 {
    uint64_t state[8];
    uint64_t size; // bytes so far
    uint8_t block[128];
};

void sha512_init(struct sha512 *ctx);
void sha512_update(struct sha512 *ctx, const void *data, size_t size);
// Wipes the context.
void sha512_final(struct sha512 *ctx, uint8_t digest[64]);

#endif
