// signer.h
//
// Who makes and judges signatures for the fuzzers, and their half of the key
// agreement. signer_real.c goes with the loader's own ed25519.c and x25519.c;
// signer_quick.c stands in for all three, so that millions of runs get past
// the signature.

#ifndef FUZZ_SIGNER_H
#define FUZZ_SIGNER_H

#include <stddef.h>
#include <stdint.h>

// The one signature that is right for this message and signing key (0 or 1).
void signer_sign(uint8_t signature[64], int key, const uint8_t *message,
                 size_t size);

// The shared secret of the fuzzers' ephemeral key and a device key (0 or 1),
// worked out from the ephemeral side.
void signer_shared(uint8_t shared[32], int device);

// Made for every run of the fuzzers (material.c).
extern const uint8_t fuzz_signing_secrets[2][32];
extern const uint8_t fuzz_ephemeral_secret[32];
extern const uint8_t fuzz_ephemeral_public[32];
extern const uint8_t fuzz_cek[32];

#endif
