// signer_quick.c
//
// NOT CRYPTOGRAPHY. One fixed signature is good for everything, and a shared
// secret is the exclusive or of both sides. For fuzzers only.

#include "signer.h"

#include <string.h>

#include "crypto/ed25519.h"
#include "crypto/x25519.h"
#include "loader.h"

static const uint8_t good_signature[64] = "this stands for a good signature";

void
signer_sign(uint8_t signature[64], int key, const uint8_t *message, size_t size)
{
    (void)key;
    (void)message;
    (void)size;
    memcpy(signature, good_signature, 64);
}

uint32_t
ed25519_verify(const uint8_t signature[64], const uint8_t public_key[32],
               const uint8_t *message, size_t size)
{
    (void)public_key;
    (void)message;
    (void)size;
    return memcmp(signature, good_signature, 64) ? 0 : ED25519_GOOD;
}

int
x25519_shared(uint8_t shared[32], const uint8_t secret[32],
              const uint8_t public_key[32])
{
    uint8_t any = 0;
    for (int i = 0; i < 32; i++) {
        shared[i] = secret[i] ^ public_key[i];
        any |= shared[i];
    }
    return any ? 0 : -1;
}

void
signer_shared(uint8_t shared[32], int device)
{
    (void)!x25519_shared(shared, loader_keys.device[device].secret,
                         fuzz_ephemeral_public);
}
