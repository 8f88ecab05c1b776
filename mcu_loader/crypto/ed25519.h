// ed25519.h
//
// Ed25519 verification (RFC 8032), strict: S below the group order, R in its
// one canonical encoding. The equation is the cofactored one.

#ifndef SPLITFLASH_ED25519_H
#define SPLITFLASH_ED25519_H

#include <stddef.h>
#include <stdint.h>

#define ED25519_GOOD 0xc35a96a5u

// ED25519_GOOD or anything else.
uint32_t ed25519_verify(const uint8_t signature[64],
                        const uint8_t public_key[32],
                        const uint8_t *message, size_t size);

#endif
