// sha512.h
//
// SHA-512 (FIPS 180-4). On the chip it serves Ed25519 and HKDF only; bulk data
// go through BLAKE2b, which costs the Cortex-M7 less than half. One message at
// a time: the state has a fixed place, so that no lost argument makes a hash
// work on memory that is not its own.

#ifndef SPLITFLASH_SHA512_H
#define SPLITFLASH_SHA512_H

#include <stddef.h>
#include <stdint.h>

void sha512_init(void);
void sha512_update(const void *data, size_t size);
// Wipes the state.
void sha512_final(uint8_t digest[64]);

#endif
