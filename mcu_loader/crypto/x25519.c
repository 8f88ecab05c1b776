// x25519.c

#include "x25519.h"

#include "../mem.h"
#include "monocypher.h"

int
x25519_shared(uint8_t shared[32], const uint8_t secret[32],
              const uint8_t public_key[32])
{
    crypto_x25519(shared, secret, public_key);
    return mem_differs_from(shared, 0, 32) ? 0 : -1;
}
