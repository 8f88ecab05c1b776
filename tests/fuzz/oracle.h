// oracle.h
//
// What an update must be to be installed, said a second time: from the bytes
// and the offsets in DESIGN.md, without the loader's structs and functions.

#ifndef FUZZ_ORACLE_H
#define FUZZ_ORACLE_H

#include <stddef.h>
#include <stdint.h>

enum {
    AT_FORMAT_VERSION = 8,
    AT_HEADER_SIZE = 12,
    AT_PRODUCT_ID = 16,
    AT_VERSION = 32,
    AT_SECURITY_COUNTER = 36,
    AT_CHIP = 40,
    AT_APP_ADDRESS = 44,
    AT_STAGING_ADDRESS = 48,
    AT_FLAGS = 52,
    AT_LAYOUT_ID = 56,
    AT_IMAGE_SIZE = 72,
    AT_PAYLOAD_SIZE = 76,
    AT_CHUNK_SIZE = 80,
    AT_COMPRESSION_ID = 84,
    AT_IMAGE_DIGEST = 88,
    AT_PAYLOAD_DIGEST = 120,
    AT_BASE_NONCE = 152,
    AT_SIGNING_KEY_ID = 164,
    AT_EPHEMERAL = 172,
    AT_RECIPIENTS = 204,
    AT_DEVICE_BINDINGS = 428,
    AT_RESERVED = 492,
    AT_SIGNATURE = 576,
    PAYLOAD = 640,
    RECIPIENT = 56,
};

uint32_t get32(const uint8_t *at);
void put32(uint8_t *at, uint64_t value);

// Signs whatever the header says, with signing key 0 or 1.
void oracle_sign(uint8_t *update, int key);
// The wrap of the fuzzers' content key for a device key of the loader.
void oracle_wrap(uint8_t entry[RECIPIENT], const uint8_t *update, int device);
// Nonce and associated data of a chunk.
void oracle_chunk(uint8_t nonce[12], uint8_t aad[8], const uint8_t *update,
                  uint32_t index, uint32_t is_last);

// 1 if a device at this floor must install it; `plain` gets the image.
int oracle_deserves(const uint8_t *update, size_t size, uint32_t floor_counter,
                    uint32_t floor_version, uint8_t *plain, size_t room);

#endif
