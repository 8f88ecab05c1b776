// ed25519.c
//
// Monocypher's equation with SHA-512 around it. Monocypher itself refuses
// S >= L and points off the curve, and accepts R in any encoding; RFC 8032
// 5.1.3 asks for y < p, which is checked here.

#include "ed25519.h"

#include "../mem.h"
#include "monocypher.h"
#include "sha512.h"

// y is canonical if it is below p = 2^255 - 19; and the sign bit of x = 0
// must be clear, which concerns y = 1 and y = p - 1 only.
static int
point_is_canonical(const uint8_t point[32])
{
    uint8_t middle = 0xff;
    uint8_t any = 0;
    for (int i = 1; i < 31; i++) {
        middle &= point[i];
        any |= point[i];
    }
    const uint8_t top = point[31] & 0x7f;
    const int negative = point[31] >> 7;
    const int is_high = middle == 0xff && top == 0x7f;
    const int above = is_high && point[0] >= 0xed;
    const int minus_one = is_high && point[0] == 0xec;
    const int one = any == 0 && top == 0 && point[0] == 1;
    return !above && !(negative && (minus_one || one));
}

uint32_t
ed25519_verify(const uint8_t signature[64], const uint8_t public_key[32],
               const uint8_t *message, size_t size)
{
    uint8_t expanded[64];
    uint8_t h_ram[32];

    if (!point_is_canonical(signature) || !point_is_canonical(public_key)) {
        return 0;
    }
    sha512_init();
    sha512_update(signature, 32);
    sha512_update(public_key, 32);
    sha512_update(message, size);
    sha512_final(expanded);
    crypto_eddsa_reduce(h_ram, expanded);
    // 0 or -1: only 0 leaves the constant as it is
    const int mismatch = crypto_eddsa_check_equation(signature, public_key, h_ram);
    return ED25519_GOOD ^ (uint32_t)mismatch;
}
