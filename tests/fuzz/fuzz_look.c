// fuzz_look.c
//
// The fuzzer's bytes lie in staging and the loader looks at them. It must say
// exactly what the oracle says, read only, and stay inside its areas. The
// mutator repairs what it broke up to a random depth (sizes, digests, seals,
// signature), so that everything behind the signature is met as well.
//
// Input: floor counter, floor version, number of a poisoned flash word of
// staging, four bytes unused; then staging.
//
// With --verdicts=FILE a line "crc staged reason" is written for every input.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "monocypher.h"
#include "oracle.h"
#include "port.h"
#include "signer.h"
#include "update.h"

#define PREAMBLE 16u
#define LARGEST 12288u
#define REASONS 25

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room,
                               unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

static unsigned long none_seen;
static unsigned long authentic_seen;
static unsigned long reasons_seen[REASONS];
static FILE *verdicts;

static void
print_tally(void)
{
    fprintf(stderr, "TALLY none %lu authentic %lu", none_seen, authentic_seen);
    for (int i = 1; i < REASONS; i++) {
        fprintf(stderr, " %d:%lu", i, reasons_seen[i]);
    }
    fprintf(stderr, "\n");
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (int i = 1; i < *argc; i++) {
        if (!strncmp((*argv)[i], "--verdicts=", 11)) {
            verdicts = fopen((*argv)[i] + 11, "w");
        }
    }
    atexit(print_tally);
    return 0;
}

// Every chunk opens to its part of the image, whatever was opened before.
static void
check_chunks(const struct update *update, const uint8_t *plain)
{
    const uint32_t step = update->message.header.chunk_size;
    for (uint32_t i = update->chunk_count; i-- > 0;) {
        REQUIRE(update_open_chunk(update, i, &update_chunk) == REASON_NONE,
                "a chunk does not open a second time");
        REQUIRE(!memcmp(update_chunk.data, plain + i * step, update_chunk.size),
                "a chunk opens to something else");
    }
}

static void
check_recheck(const struct update *update, const struct mark_record *newest,
              uint32_t staged, enum reason reason)
{
    struct mark_record higher = *newest;
    if (staged == STAGED_AUTHENTIC) {
        REQUIRE(update_recheck(update, newest) == STAGED_AUTHENTIC,
                "refused when asked again");
        higher.floor_counter = update->message.header.security_counter;
        if (higher.floor_counter++ != 0xffffffffu &&
            update_recheck(update, &higher) == STAGED_AUTHENTIC) {
            finding("WRONGLY ACCEPTED", "below the floor when asked again");
        }
    } else if (staged == STAGED_REFUSED && reason < REASON_UNKNOWN_RECIPIENT &&
               update_recheck(update, newest) == STAGED_AUTHENTIC) {
        finding("WRONGLY ACCEPTED", "a refused header when asked again");
    }
}

static void
count(uint32_t crc, uint32_t staged, enum reason reason)
{
    none_seen += staged == STAGED_NONE;
    authentic_seen += staged == STAGED_AUTHENTIC;
    REQUIRE(reason < REASONS, "an unknown reason");
    reasons_seen[reason]++;
    REQUIRE((staged == STAGED_REFUSED) == (reason != REASON_NONE),
            "a reason without a refusal, or the other way round");
    if (verdicts) {
        fprintf(verdicts, "%08x %08x %u\n", crc, staged, (unsigned)reason);
        fflush(verdicts);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct update update;
    static uint8_t plain[LARGEST];
    struct mark_record newest;
    enum reason reason = REASON_MARKS_FULL;
    if (size < PREAMBLE) {
        return 0;
    }
    memset(&newest, 0, sizeof newest);
    newest.state = STATE_INSTALLED;
    newest.floor_counter = get32(data);
    newest.floor_version = get32(data + 4);
    port.staging = data + PREAMBLE;
    port.staging_size = size - PREAMBLE;
    port.poisoned_word = get32(data + 8);
    port_begin(0);

    const uint32_t staged = update_look(&update, &newest, &reason);

    REQUIRE(staged == STAGED_NONE || staged == STAGED_REFUSED ||
                staged == STAGED_AUTHENTIC,
            "an answer that is none");
    count(verdicts ? crc32_update(0, data, (uint32_t)size) : 0, staged, reason);
    const int deserves =
        oracle_deserves(port.staging, port.staging_size, newest.floor_counter,
                        newest.floor_version, plain, sizeof plain);
    if (staged == STAGED_AUTHENTIC && !deserves) {
        finding("WRONGLY ACCEPTED", "an update the oracle refuses");
    }
    REQUIRE(staged == STAGED_AUTHENTIC || !deserves ||
                port.poisoned_word < port.staging_size / FLASH_WORD + 1,
            "refuses a good update");
    if (staged == STAGED_AUTHENTIC) {
        check_chunks(&update, plain);
    }
    check_recheck(&update, &newest, staged, reason);
    return 0;
}

static uint32_t dice;

static uint32_t
roll(uint32_t sides)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % sides;
}

static uint32_t
payload_of(uint32_t image, uint32_t chunk)
{
    return image + 16 * ((image + chunk - 1) / chunk);
}

// Sizes that fit each other and the room there is.
static void
repair_sizes(uint8_t *update, size_t room)
{
    uint32_t chunk = get32(update + AT_CHUNK_SIZE);
    uint32_t image = get32(update + AT_IMAGE_SIZE);
    if (chunk < 1024 || chunk > 16384 || (chunk & (chunk - 1))) {
        chunk = 1024u << roll(5);
    }
    const uint32_t most = (uint32_t)(room - PAYLOAD - 16 * 12);
    if (image == 0 || image > most) {
        image = 1 + roll(most);
    }
    put32(update + AT_CHUNK_SIZE, chunk);
    put32(update + AT_IMAGE_SIZE, image);
    put32(update + AT_PAYLOAD_SIZE, payload_of(image, chunk));
}

static void
repair_identity(uint8_t *update)
{
    memcpy(update, "SPLTFLSH", 8);
    put32(update + AT_FORMAT_VERSION, 1);
    put32(update + AT_HEADER_SIZE, 640);
    memcpy(update + AT_PRODUCT_ID, info_block.product_id, 16);
    put32(update + AT_CHIP, info_block.chip);
    memcpy(update + AT_LAYOUT_ID, info_block.layout_id, 16);
    put32(update + AT_APP_ADDRESS, info_block.app.start);
    put32(update + AT_STAGING_ADDRESS, info_block.staging.start);
    put32(update + AT_FLAGS, get32(update + AT_FLAGS) & 1);
    put32(update + AT_COMPRESSION_ID, 0);
    memset(update + AT_DEVICE_BINDINGS, 0, 64 + 84);
}

static void
repair_recipients(uint8_t *update)
{
    uint8_t *entries = update + AT_RECIPIENTS;
    memcpy(update + AT_EPHEMERAL, fuzz_ephemeral_public, 32);
    memset(entries, 0, 4 * RECIPIENT);
    const uint32_t foreign = roll(3);
    for (uint32_t i = 0; i < foreign; i++) {
        memset(entries + i * RECIPIENT, 0x5a + (int)i, RECIPIENT);
    }
    oracle_wrap(entries + foreign * RECIPIENT, update, (int)roll(2));
}

// Seals what lies in the payload's place as if it were the image.
static void
reseal(uint8_t *update)
{
    static uint8_t image[LARGEST];
    const uint32_t size = get32(update + AT_IMAGE_SIZE);
    const uint32_t step = get32(update + AT_CHUNK_SIZE);
    uint8_t *out = update + PAYLOAD;
    uint32_t index = 0;
    memcpy(image, out, size);
    if (size >= 8 && roll(8)) {
        put32(image, info_block.ram[0].start + info_block.ram[0].size);
        put32(image + 4, info_block.app.start + 9);
    }
    for (uint32_t at = 0; at < size; at += step, index++) {
        const uint32_t take = size - at < step ? size - at : step;
        const uint32_t is_last = at + take == size;
        uint8_t nonce[12];
        uint8_t aad[8];
        crypto_aead_ctx ctx;
        oracle_chunk(nonce, aad, update, index,
                     roll(32) ? is_last : !is_last);
        crypto_aead_init_ietf(&ctx, fuzz_cek, nonce);
        crypto_aead_write(&ctx, out, out + take, aad, 8, image + at, take);
        out += take + 16;
    }
    crypto_blake2b(update + AT_IMAGE_DIGEST, 32, image, size);
}

static void
repair_payload_digest(uint8_t *update)
{
    crypto_blake2b(update + AT_PAYLOAD_DIGEST, 32, update + PAYLOAD,
                   get32(update + AT_PAYLOAD_SIZE));
}

// One field, chunk or digest wrong behind a signature that is right.
static void
spoil(uint8_t *update)
{
    static const uint16_t fields[] = {
        AT_FORMAT_VERSION, AT_HEADER_SIZE,  AT_PRODUCT_ID,     AT_VERSION,
        AT_CHIP,           AT_APP_ADDRESS,  AT_STAGING_ADDRESS, AT_FLAGS,
        AT_LAYOUT_ID,      AT_IMAGE_SIZE,   AT_PAYLOAD_SIZE,   AT_CHUNK_SIZE,
        AT_COMPRESSION_ID, AT_IMAGE_DIGEST, AT_PAYLOAD_DIGEST, AT_BASE_NONCE,
        AT_EPHEMERAL,      AT_RECIPIENTS,   AT_RECIPIENTS + 8, AT_RECIPIENTS + 40,
        AT_DEVICE_BINDINGS, AT_RESERVED,    AT_SECURITY_COUNTER,
    };
    static const uint32_t edges[] = { 0, 1, 0x7fffffff, 0x80000000,
                                      0xffffffff, 1024, 915968, 915969 };
    uint8_t *at = update + fields[roll(sizeof fields / sizeof fields[0])];
    switch (roll(4)) {
    case 0:
        put32(at, edges[roll(8)]);
        break;
    case 1:
        put32(at, get32(at) + (roll(2) ? 1u : 0xffffffffu));
        break;
    default:
        at[roll(4)] ^= (uint8_t)(1u << roll(8));
    }
}

static void
spoil_payload(uint8_t *update)
{
    const uint32_t at = roll(get32(update + AT_PAYLOAD_SIZE));
    update[PAYLOAD + at] ^= (uint8_t)(1u << roll(8));
}

static size_t
repair(uint8_t *update, size_t room, uint32_t depth)
{
    if (depth >= 2) {
        repair_identity(update);
        repair_sizes(update, room);
    }
    if (depth >= 3) {
        repair_recipients(update);
    }
    if (depth >= 4) {
        reseal(update);
    }
    if (depth >= 5 && depth < 7) {
        spoil_payload(update);
    }
    if (depth >= 4 && roll(16) == 0) {
        put32(update + AT_PAYLOAD_SIZE, // signed, and not what fits
              get32(update + AT_PAYLOAD_SIZE) + roll(33) - 16);
    }
    if (depth >= 3 && depth != 6) {
        repair_payload_digest(update);
    }
    if (depth >= 8) {
        spoil(update);
    }
    oracle_sign(update, (int)roll(2));
    return depth >= 2 ? PAYLOAD + get32(update + AT_PAYLOAD_SIZE) : 0;
}

// A spoiled size may point anywhere, so the length is taken before.
static size_t
length_of(const uint8_t *update, size_t fallback, size_t room)
{
    const uint64_t length = (uint64_t)PAYLOAD + get32(update + AT_PAYLOAD_SIZE);
    return length <= room ? (size_t)length : fallback;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room,
                        unsigned int seed)
{
    dice = seed;
    if (room > PREAMBLE + LARGEST) {
        room = PREAMBLE + LARGEST;
    }
    if (size > room || room < PREAMBLE + PAYLOAD + 1024) {
        return LLVMFuzzerMutate(data, size, room);
    }
    uint8_t *update = data + PREAMBLE;
    if (size > PREAMBLE + PAYLOAD && roll(2)) {
        (void)LLVMFuzzerMutate(update, PAYLOAD, PAYLOAD); // the header only
    } else {
        size = LLVMFuzzerMutate(data, size, room);
    }
    if (size < PREAMBLE + PAYLOAD || roll(4) == 0) {
        return size;
    }
    memset(data + size, 0, room - size);
    put32(data + 8, roll(16) ? 0xffffffffu : roll(128));
    if (roll(4)) {
        put32(data, roll(2) ? 0 : get32(update + AT_SECURITY_COUNTER));
        put32(data + 4, get32(update + AT_VERSION) + roll(3) - 1);
    }
    const uint32_t depth = 1 + roll(9);
    (void)repair(update, room - PREAMBLE, depth);
    return PREAMBLE + length_of(update, size - PREAMBLE, room - PREAMBLE);
}
