// hkdf.h
//
// HKDF (RFC 5869) with HMAC-SHA-512, for outputs of at most one block.

#ifndef SPLITFLASH_HKDF_H
#define SPLITFLASH_HKDF_H

#include <stddef.h>
#include <stdint.h>

#define HKDF_MAX_OUT 64u

void hkdf_sha512(uint8_t *out, size_t out_size,
                 const uint8_t *ikm, size_t ikm_size,
                 const uint8_t *salt, size_t salt_size,
                 const uint8_t *info, size_t info_size);

#endif
