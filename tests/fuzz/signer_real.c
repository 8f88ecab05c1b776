// signer_real.c
//
// RFC 8032 5.1.6 out of Monocypher's parts and our SHA-512. A signature made
// like this is the only one for its message, so nothing else may be accepted.

#include "signer.h"

#include <string.h>

#include "crypto/sha512.h"
#include "loader.h"
#include "monocypher.h"

static void
hash_to_scalar(uint8_t scalar[32], const uint8_t *first, size_t first_size,
               const uint8_t *second, size_t second_size,
               const uint8_t *message, size_t size)
{
    uint8_t digest[64];
    sha512_init();
    sha512_update(first, first_size);
    sha512_update(second, second_size);
    sha512_update(message, size);
    sha512_final(digest);
    crypto_eddsa_reduce(scalar, digest);
}

void
signer_sign(uint8_t signature[64], int key, const uint8_t *message, size_t size)
{
    uint8_t expanded[64];
    uint8_t secret[32];
    uint8_t nonce[32];
    uint8_t challenge[32];
    uint8_t public_key[32];
    sha512_init();
    sha512_update(fuzz_signing_secrets[key], 32);
    sha512_final(expanded);
    crypto_eddsa_trim_scalar(secret, expanded);
    crypto_eddsa_scalarbase(public_key, secret);
    hash_to_scalar(nonce, expanded + 32, 32, 0, 0, message, size);
    crypto_eddsa_scalarbase(signature, nonce);
    hash_to_scalar(challenge, signature, 32, public_key, 32, message, size);
    crypto_eddsa_mul_add(signature + 32, challenge, secret, nonce);
}

void
signer_shared(uint8_t shared[32], int device)
{
    crypto_x25519(shared, fuzz_ephemeral_secret,
                  loader_keys.device[device].public_key);
}
