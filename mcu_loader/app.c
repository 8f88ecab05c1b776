// app.c

#include "app.h"

#include "crc32.h"
#include "flash.h"
#include "machine.h"
#include "mem.h"
#include "monocypher.h"
#include "unproven.h"

#define BLOCK_SIZE 1024u
#define FIRST_CODE 8u // behind initial stack pointer and reset vector

int
app_vectors_plausible(const uint32_t vectors[2], uint32_t image_size)
{
    const uint32_t sp = vectors[0];
    const uint32_t code = vectors[1] & ~1u;
    int sp_in_ram = 0;
    for (uint32_t i = 0; i < sizeof info_block.ram / sizeof(struct area); i++) {
        // full descending: the end of RAM is a place to start from
        if (sp > info_block.ram[i].start &&
            area_holds(&info_block.ram[i], sp, 0)) {
            sp_in_ram = 1;
        }
    }
    return sp_in_ram && (sp & 7u) == 0 && (vectors[1] & 1u) &&
           image_size > FIRST_CODE &&
           code >= info_block.app.start + FIRST_CODE &&
           code - info_block.app.start <= image_size - 2;
}

int
app_read_vectors(uint32_t vectors[2], uint32_t image_size)
{
    if (flash_read(vectors, info_block.app.start, 8) < 0) {
        return -1;
    }
    return app_vectors_plausible(vectors, image_size) ? 0 : -1;
}

// Feeds the whole image, block by block, to one of the two sums. Nothing at all
// has no sum: a record of zeros must not fit.
NODISCARD static int
sum_image(uint32_t size, crypto_blake2b_ctx *digest, uint32_t *crc)
{
    uint32_t block[BLOCK_SIZE / 4];
    uint32_t at = info_block.app.start;
    if (!size) {
        return -1;
    }
    while (size) {
        const uint32_t take = min_u32(size, BLOCK_SIZE);
        if (flash_read(block, at, take) < 0) {
            return -1;
        }
        if (digest) {
            crypto_blake2b_update(digest, (const uint8_t *)block, take);
        } else {
            *crc = crc32_update(*crc, block, take);
        }
        machine_feed_watchdog();
        at += take;
        size -= take;
    }
    return 0;
}

uint32_t
app_crc(uint32_t image_size)
{
    uint32_t crc = 0;
    return sum_image(image_size, 0, &crc) ? 0 : crc;
}

// 0 if the image in flash has the digest of the record.
static uint32_t
digest_mismatch(const struct mark_record *record)
{
    crypto_blake2b_ctx ctx;
    uint8_t digest[DIGEST_SIZE];
    crypto_blake2b_init(&ctx, sizeof digest);
    if (sum_image(record->image_size, &ctx, 0)) {
        return 1;
    }
    crypto_blake2b_final(&ctx, digest);
    return mem_differs(digest, record->image_digest, sizeof digest);
}

static uint32_t
crc_mismatch(const struct mark_record *record)
{
    uint32_t crc = 0;
    if (sum_image(record->image_size, 0, &crc)) {
        return 1;
    }
    return crc ^ record->image_crc;
}

// A mismatch is turned into the answer instead of being branched on: there is
// no single instruction whose loss makes a wrong image APP_VALID. In two steps
// and a function of its own, so that no compiler holds APP_VALID in a register
// before the mismatch has gone into it.
NOINLINE static uint32_t
valid_unless(uint32_t mismatch)
{
    uint32_t answer = ~mismatch;
    FORGET(answer);
    return answer + (APP_VALID + 1u);
}

static uint32_t
checked(const struct mark_record *record, enum boot_check how)
{
    if (how != BOOT_CHECK_OFF) {
        machine_long_work();
        return valid_unless(how == BOOT_CHECK_CRC ? crc_mismatch(record)
                                                  : digest_mismatch(record));
    }
    ASK_AGAIN(); // is it off for everyone who asks?
    return valid_unless(info_block.boot_check | how);
}

uint32_t
app_check(const struct mark_record *record, enum boot_check how)
{
    uint32_t vectors[2];
    if (record->state != STATE_INSTALLED ||
        record->image_size > info_block.app.size - CARRY_SIZE ||
        app_read_vectors(vectors, record->image_size)) {
        return APP_INVALID;
    }
    return checked(record, how);
}

void
app_start(const struct mark_record *record, uint32_t verdict)
{
    uint32_t vectors[2];
    if (verdict != APP_VALID || !unproven_allows(record)) {
        machine_panic();
    }
    if (app_read_vectors(vectors, info_block.app.size)) {
        machine_panic();
    }
    ASK_AGAIN();
    if (verdict != APP_VALID || !unproven_allows(record)) {
        machine_panic();
    }
    machine_start(info_block.app.start, vectors[0], vectors[1]);
}
