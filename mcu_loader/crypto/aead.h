// aead.h
//
// ChaCha20-Poly1305 (RFC 8439), opening in place.

#ifndef SPLITFLASH_AEAD_H
#define SPLITFLASH_AEAD_H

#include <stddef.h>
#include <stdint.h>

// 0: `text` was authentic and is plain now. -1: it was not and is untouched.
__attribute__((warn_unused_result)) int
aead_open(uint8_t *text, size_t size, const uint8_t tag[16],
          const uint8_t key[32], const uint8_t nonce[12],
          const uint8_t *aad, size_t aad_size);

#endif
