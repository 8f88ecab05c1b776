// staging_h743.c
//
// Erasing and programming of staging, in ITCM like everything the door runs
// while a bank is busy. Promises: an operation begins only inside staging,
// with clean error flags and enough supply, when none runs; the interface is
// locked again when it ends; a wait that never ends is given up and said so.

#include "staging.h"

#include "h743.h"
#include "machine.h"

#define WORDS_PER_FLASH_WORD (FLASH_WORD / 4u)
#define MOST_POLLS 0x02000000u // more than 30 s: worn sectors need 10
#define OPTIONS_OFFSET 0x1cu
#define OPTIONS_END 0x48u
#define BANK2_OFFSET 0x100u

#define OPERATION_ERRORS \
    (SR_WRPERR | SR_PGSERR | SR_STRBERR | SR_INCERR | SR_OPERR)

static uint32_t busy_bank; // its registers; 0: nothing runs
static uint32_t polls;

static uint32_t
registers_of(uint32_t address)
{
    return address < FLASH_BANK2 ? FLASH_BANK1_REGISTERS
                                 : FLASH_BANK2_REGISTERS;
}

// Only what is seen to be right is written to an open control register.
__attribute__((always_inline)) static inline void
set_control(uint32_t bank, const uint32_t value)
{
    uint32_t control = value;
    FORGET(control);
    if (control == value) {
        REG(bank + FLASH_CR) = control;
    }
}

static void
lock(uint32_t bank)
{
    set_control(bank, CR_PSIZE_X64 | CR_LOCK);
    REG(bank + FLASH_CCR) = CCR_ALL;
}

enum staging_progress
staging_poll(void)
{
    if (!busy_bank) {
        return STAGING_IDLE;
    }
    const uint32_t status = REG(busy_bank + FLASH_SR);
    const uint32_t is_running = status & (SR_QW | SR_BSY);
    if (is_running && ++polls < MOST_POLLS) {
        return STAGING_BUSY;
    }
    lock(busy_bank);
    busy_bank = 0;
    return is_running || status & OPERATION_ERRORS ? STAGING_FAILED
                                                   : STAGING_DONE;
}

// Leaves the bank unlocked and clean, or says why it must not be touched.
NODISCARD static enum flash_result
begin(uint32_t bank)
{
    if (busy_bank || REG(bank + FLASH_SR) & (SR_QW | SR_BSY)) {
        return FLASH_FAILED;
    }
    if (PWR_CSR1 & PWR_CSR1_PVDO) {
        return FLASH_SUPPLY;
    }
    if (REG(bank + FLASH_CR) & CR_LOCK) {
        REG(bank + FLASH_KEYR) = FLASH_KEY1;
        REG(bank + FLASH_KEYR) = FLASH_KEY2;
    }
    REG(bank + FLASH_CCR) = CCR_ALL;
    busy_bank = bank;
    polls = 0;
    return FLASH_OK;
}

enum flash_result
staging_erase(uint32_t address)
{
    if (address % SECTOR_SIZE ||
        !area_holds(&info_block.staging, address, SECTOR_SIZE)) {
        return FLASH_RANGE;
    }
    const uint32_t bank = registers_of(address);
    const enum flash_result result = begin(bank);
    if (result != FLASH_OK) {
        return result;
    }
    const uint32_t sector = address % FLASH_BANK_SPAN / SECTOR_SIZE;
    uint32_t control = CR_PSIZE_X64 | CR_SER | sector << CR_SNB_SHIFT;
    FORGET(control);
    FORGET(address);
    const uint32_t start =
        bank == FLASH_BANK1_REGISTERS ? FLASH_BANK1 : FLASH_BANK2;
    if ((control & ~CR_SNB) != (CR_PSIZE_X64 | CR_SER) ||
        start + (control >> CR_SNB_SHIFT) * SECTOR_SIZE != address ||
        !area_holds(&info_block.staging, address, SECTOR_SIZE)) {
        machine_panic();
    }
    REG(bank + FLASH_CR) = control;
    // cut here: a sector of staging that holds anything, or no more of it
    REG(bank + FLASH_CR) = control | CR_START;
    barrier();
    return FLASH_OK;
}

enum flash_result
staging_program(uint32_t address, const uint32_t *word)
{
    if (address % FLASH_WORD ||
        !area_holds(&info_block.staging, address, FLASH_WORD)) {
        return FLASH_RANGE;
    }
    const uint32_t bank = registers_of(address);
    const enum flash_result result = begin(bank);
    if (result != FLASH_OK) {
        return result;
    }
    volatile uint32_t *flash = (volatile uint32_t *)(uintptr_t)address;
    set_control(bank, CR_PSIZE_X64 | CR_PG);
    barrier();
    // cut here: a torn word in staging
    for (uint32_t i = 0; i < WORDS_PER_FLASH_WORD; i++) {
        flash[i] = word[i];
    }
    barrier();
    return FLASH_OK;
}

// Of bank 1 and, 0x100 further on, of bank 2; nothing that a read changes.
uint32_t
staging_option(uint32_t address)
{
    const uint32_t offset = address - FLASH_BANK1_REGISTERS;
    const uint32_t within = offset % BANK2_OFFSET;
    if (offset >= 2 * BANK2_OFFSET || within < OPTIONS_OFFSET ||
        within >= OPTIONS_END) {
        return 0;
    }
    return REG(address);
}
