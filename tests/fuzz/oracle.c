// oracle.c

#include "oracle.h"

#include <string.h>

#include "crypto/hkdf.h"
#include "loader.h"
#include "monocypher.h"
#include "signer.h"

static const uint8_t sign_domain[32] = "splitflash update header v1";
static const char wrap_domain[] = "splitflash update v1 key wrap";

uint32_t
get32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

void
put32(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static void
signature_of(uint8_t signature[64], const uint8_t *update, int key)
{
    uint8_t message[32 + AT_SIGNATURE];
    memcpy(message, sign_domain, 32);
    memcpy(message + 32, update, AT_SIGNATURE);
    signer_sign(signature, key, message, sizeof message);
}

void
oracle_sign(uint8_t *update, int key)
{
    memcpy(update + AT_SIGNING_KEY_ID, info_block.verify_key_ids[key], 8);
    signature_of(update + AT_SIGNATURE, update, key);
}

static void
kek_of(uint8_t kek[32], const uint8_t *update, int device)
{
    static uint8_t shared[2][32];
    static int known[2];
    uint8_t salt[64];
    uint8_t info[29 + 16 + 8];
    if (!known[device]) {
        signer_shared(shared[device], device);
        known[device] = 1;
    }
    memcpy(salt, fuzz_ephemeral_public, 32);
    memcpy(salt + 32, loader_keys.device[device].public_key, 32);
    memcpy(info, wrap_domain, 29);
    memcpy(info + 29, update + AT_PRODUCT_ID, 16);
    memcpy(info + 45, info_block.device_key_ids[device], 8);
    hkdf_sha512(kek, 32, shared[device], 32, salt, 64, info, sizeof info);
}

static void
wrap_aad(uint8_t aad[32], const uint8_t *update)
{
    put32(aad, 1);
    memcpy(aad + 4, update + AT_PRODUCT_ID, 16);
    memcpy(aad + 20, update + AT_BASE_NONCE, 12);
}

void
oracle_wrap(uint8_t entry[RECIPIENT], const uint8_t *update, int device)
{
    static const uint8_t nonce[12];
    uint8_t kek[32];
    uint8_t aad[32];
    crypto_aead_ctx ctx;
    kek_of(kek, update, device);
    wrap_aad(aad, update);
    memcpy(entry, info_block.device_key_ids[device], 8);
    crypto_aead_init_ietf(&ctx, kek, nonce);
    crypto_aead_write(&ctx, entry + 8, entry + 40, aad, 32, fuzz_cek, 32);
}

void
oracle_chunk(uint8_t nonce[12], uint8_t aad[8], const uint8_t *update,
             uint32_t index, uint32_t is_last)
{
    memcpy(nonce, update + AT_BASE_NONCE, 12);
    put32(nonce + 8, get32(nonce + 8) ^ index);
    put32(aad, index);
    put32(aad + 4, is_last);
}

static int
all_zero(const uint8_t *at, size_t size)
{
    while (size && !at[size - 1]) {
        size--;
    }
    return size == 0;
}

static int
sizes_are_right(const uint8_t *update)
{
    const uint64_t image = get32(update + AT_IMAGE_SIZE);
    const uint64_t payload = get32(update + AT_PAYLOAD_SIZE);
    const uint64_t chunk = get32(update + AT_CHUNK_SIZE);
    int is_power = 0;
    for (uint64_t power = 1024; power <= 16384; power *= 2) {
        is_power |= chunk == power;
    }
    return is_power && image > 0 && image + 1024 <= info_block.app.size &&
           payload + PAYLOAD <= info_block.staging.size &&
           payload == image + 16 * ((image + chunk - 1) / chunk);
}

static int
is_for_us(const uint8_t *update)
{
    return !memcmp(update + AT_PRODUCT_ID, info_block.product_id, 16) &&
           get32(update + AT_CHIP) == info_block.chip &&
           !memcmp(update + AT_LAYOUT_ID, info_block.layout_id, 16) &&
           get32(update + AT_APP_ADDRESS) == info_block.app.start &&
           get32(update + AT_STAGING_ADDRESS) == info_block.staging.start;
}

static int
uses_nothing_unknown(const uint8_t *update)
{
    int used = 0;
    while (used < 4 &&
           !all_zero(update + AT_RECIPIENTS + used * RECIPIENT, 8)) {
        used++;
    }
    const int unused = AT_RECIPIENTS + used * RECIPIENT;
    return get32(update + AT_FLAGS) <= 1 &&
           get32(update + AT_COMPRESSION_ID) == 0 &&
           all_zero(update + unused, (size_t)(AT_DEVICE_BINDINGS - unused)) &&
           all_zero(update + AT_DEVICE_BINDINGS, 64) &&
           all_zero(update + AT_RESERVED, 84);
}

static int
is_new_enough(const uint8_t *update, uint32_t counter, uint32_t version)
{
    const uint32_t own = get32(update + AT_SECURITY_COUNTER);
    const int may_go_back = get32(update + AT_FLAGS) & 1;
    return own > counter ||
           (own == counter &&
            (may_go_back || get32(update + AT_VERSION) >= version));
}

static int
is_signed(const uint8_t *update)
{
    uint8_t signature[64];
    for (int key = 0; key < 2; key++) {
        if (!memcmp(update + AT_SIGNING_KEY_ID, info_block.verify_key_ids[key],
                    8)) {
            signature_of(signature, update, key);
            return !memcmp(signature, update + AT_SIGNATURE, 64);
        }
    }
    return 0;
}

// The first entry that is for one of our keys, and no other.
static int
content_key(uint8_t cek[32], const uint8_t *update)
{
    static const uint8_t nonce[12];
    uint8_t kek[32];
    uint8_t aad[32];
    for (int i = 0; i < 8; i++) {
        const uint8_t *entry = update + AT_RECIPIENTS + i / 2 * RECIPIENT;
        crypto_aead_ctx ctx;
        if (memcmp(entry, info_block.device_key_ids[i % 2], 8)) {
            continue;
        }
        if (memcmp(update + AT_EPHEMERAL, fuzz_ephemeral_public, 32)) {
            return 0; // nobody here knows another ephemeral key
        }
        kek_of(kek, update, i % 2);
        wrap_aad(aad, update);
        crypto_aead_init_ietf(&ctx, kek, nonce);
        return !crypto_aead_read(&ctx, cek, entry + 40, aad, 32, entry + 8, 32);
    }
    return 0;
}

// Sealing the plaintext again must give the very payload.
static int
is_sealed_right(const uint8_t *update, const uint8_t cek[32], uint8_t *plain)
{
    static uint8_t again[16384];
    const uint32_t image = get32(update + AT_IMAGE_SIZE);
    const uint32_t step = get32(update + AT_CHUNK_SIZE);
    const uint8_t *sealed = update + PAYLOAD;
    uint32_t index = 0;
    for (uint32_t at = 0; at < image; at += step, index++) {
        const uint32_t size = image - at < step ? image - at : step;
        uint8_t nonce[12];
        uint8_t aad[8];
        uint8_t tag[16];
        oracle_chunk(nonce, aad, update, index, at + size == image);
        crypto_chacha20_ietf(plain + at, sealed, size, cek, nonce, 1);
        crypto_aead_ctx ctx;
        crypto_aead_init_ietf(&ctx, cek, nonce);
        crypto_aead_write(&ctx, again, tag, aad, 8, plain + at, size);
        if (memcmp(again, sealed, size) || memcmp(tag, sealed + size, 16)) {
            return 0;
        }
        sealed += size + 16;
    }
    return 1;
}

static int
vectors_are_right(const uint8_t *plain, uint64_t image)
{
    if (image <= 8) {
        return 0;
    }
    const uint64_t sp = get32(plain);
    const uint64_t entry = get32(plain + 4);
    const uint64_t app = info_block.app.start;
    int in_ram = 0;
    for (int i = 0; i < 4; i++) {
        const uint64_t low = info_block.ram[i].start;
        in_ram |= sp > low && sp <= low + info_block.ram[i].size;
    }
    return in_ram && sp % 8 == 0 && entry % 2 == 1 && entry - 1 >= app + 8 &&
           entry + 1 <= app + image;
}

static int
payload_is_right(const uint8_t *update, const uint8_t cek[32], uint8_t *plain)
{
    const uint32_t image = get32(update + AT_IMAGE_SIZE);
    uint8_t digest[32];
    crypto_blake2b(digest, 32, update + PAYLOAD,
                   get32(update + AT_PAYLOAD_SIZE));
    if (memcmp(digest, update + AT_PAYLOAD_DIGEST, 32) ||
        !is_sealed_right(update, cek, plain)) {
        return 0;
    }
    crypto_blake2b(digest, 32, plain, image);
    return !memcmp(digest, update + AT_IMAGE_DIGEST, 32) &&
           vectors_are_right(plain, image);
}

int
oracle_deserves(const uint8_t *update, size_t size, uint32_t floor_counter,
                uint32_t floor_version, uint8_t *plain, size_t room)
{
    uint8_t cek[32];
    return size >= PAYLOAD && !memcmp(update, "SPLTFLSH", 8) &&
           get32(update + AT_FORMAT_VERSION) == 1 &&
           get32(update + AT_HEADER_SIZE) == 640 && sizes_are_right(update) &&
           get32(update + AT_PAYLOAD_SIZE) <= size - PAYLOAD &&
           get32(update + AT_IMAGE_SIZE) <= room && is_for_us(update) &&
           uses_nothing_unknown(update) &&
           is_new_enough(update, floor_counter, floor_version) &&
           content_key(cek, update) && payload_is_right(update, cek, plain) &&
           is_signed(update);
}
