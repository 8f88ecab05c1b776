// flash_host.c
//
// flash.h on a simulated flash, in the same steps as flash_h743.c: the same
// loads in the same order, blocks of the same size, the same early ends. So a
// word that fails after some reads fails here at the same moment.

#include "flash.h"

#include "host.h"
#include "mem.h"

#define READ_BLOCK 256u
#define BANK_SPAN 0x00100000u
#define SICK 0xfeu // states above 1 need attention

static const struct host_bank *
bank_of(uint32_t address, uint32_t size)
{
    for (int i = 0; i < 2; i++) {
        const struct host_bank *bank = &host->banks[i];
        if (address - bank->start < bank->size &&
            size <= bank->start + bank->size - address) {
            return bank;
        }
    }
    host_leave(HOST_BAD_READ);
}

static int
is_in_one_bank(uint32_t address, uint32_t size)
{
    const uint32_t offset = address % BANK_SPAN;
    const uint32_t bank = address - offset;
    return (bank == host->banks[0].start || bank == host->banks[1].start) &&
           size <= BANK_SPAN - offset;
}

static int
is_ours_to_write(uint32_t address, uint32_t size)
{
    return area_holds(&info_block.app, address, size) ||
           area_holds(&info_block.marks, address, size);
}

static int
is_ours_to_erase(uint32_t address)
{
    return is_ours_to_write(address, SECTOR_SIZE) ||
           address == info_block.staging.start;
}

void
flash_open(void)
{
}

void
flash_close(void)
{
}

static int
all_healthy(const struct host_bank *bank, uint32_t at, uint32_t size)
{
    uint8_t seen = 0;
    const uint32_t last = (at + size - 1) / FLASH_WORD;
    for (uint32_t word = at / FLASH_WORD; word <= last; word++) {
        seen |= bank->states[word];
    }
    return !(seen & SICK);
}

static enum flash_result
read_with_care(uint8_t *out, const struct host_bank *bank, uint32_t at,
               uint32_t size)
{
    int met = 0;
    for (uint32_t done = 0; done < size; done += 4) {
        if (bank->states[(at + done) / FLASH_WORD] & SICK) {
            met |= host->sense(bank->start + at + done);
        }
        memcpy(out + done, bank->content + at + done,
               min_u32(4, size - done));
    }
    if (met & ANSWER_POWER_CUT) {
        host_leave(HOST_CUT);
    }
    if (met & ANSWER_POISONED) {
        memset(out, 0, size);
        return FLASH_UNREADABLE;
    }
    return met & ANSWER_CORRECTED ? FLASH_CORRECTED : FLASH_OK;
}

enum flash_result
flash_read(void *out, uint32_t address, uint32_t size)
{
    host_step();
    if (address & 3u || !is_in_one_bank(address, size)) {
        memset(out, 0, size);
        return FLASH_RANGE;
    }
    if (size == 0) {
        return FLASH_OK;
    }
    const struct host_bank *bank = bank_of(address, size);
    const uint32_t at = address - bank->start;
    if (!all_healthy(bank, at, size)) {
        return read_with_care(out, bank, at, size);
    }
    memcpy(out, bank->content + at, size);
    return FLASH_OK;
}

enum flash_result
flash_compare(uint32_t address, const void *data, uint32_t size)
{
    uint32_t block[READ_BLOCK / 4];
    const uint8_t *expected = data;
    for (uint32_t take; size; address += take, expected += take, size -= take) {
        take = min_u32(size, sizeof block);
        const enum flash_result result = flash_read(block, address, take);
        if (result != FLASH_OK) {
            return result;
        }
        if (memcmp(block, expected, take)) {
            return FLASH_FAILED;
        }
    }
    return FLASH_OK;
}

enum flash_result
flash_blank(uint32_t address, uint32_t size)
{
    uint32_t block[READ_BLOCK / 4];
    for (uint32_t take; size; address += take, size -= take) {
        take = min_u32(size, sizeof block);
        const enum flash_result result = flash_read(block, address, take);
        if (result != FLASH_OK) {
            return result;
        }
        if (mem_differs_from(block, 0xff, take)) {
            return FLASH_FAILED;
        }
    }
    return FLASH_OK;
}

static enum flash_result
done(int answer)
{
    host_step();
    if (answer == ANSWER_POWER_CUT) {
        host_leave(HOST_CUT);
    }
    return answer == ANSWER_OK ? FLASH_OK : FLASH_FAILED;
}

enum flash_result
flash_erase_sector(uint32_t address)
{
    if (address % SECTOR_SIZE || !is_ours_to_erase(address)) {
        return FLASH_RANGE;
    }
    const enum flash_result result = done(host->erase(address));
    return result == FLASH_OK ? flash_blank(address, SECTOR_SIZE) : result;
}

enum flash_result
flash_program(uint32_t address, const void *data, uint32_t size)
{
    if ((address | size) % FLASH_WORD || !is_ours_to_write(address, size)) {
        return FLASH_RANGE;
    }
    const uint8_t *from = data;
    for (uint32_t at = 0; at < size; at += FLASH_WORD) {
        if (!mem_differs_from(from + at, 0xff, FLASH_WORD)) {
            continue;
        }
        const enum flash_result result =
            done(host->program(address + at, from + at));
        if (result != FLASH_OK) {
            return result;
        }
    }
    return flash_compare(address, data, size);
}
