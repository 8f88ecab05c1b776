// x25519.h
//
// X25519 (RFC 7748), refusing the all-zero secret of a low-order point.

#ifndef SPLITFLASH_X25519_H
#define SPLITFLASH_X25519_H

#include <stdint.h>

// 0, or -1 and a wiped secret.
__attribute__((warn_unused_result)) int
x25519_shared(uint8_t shared[32], const uint8_t secret[32],
              const uint8_t public_key[32]);

#endif
