// flash_h743.c
//
// The flash of the STM32H743 (RM0433 section 4). Promises: the loader's own
// sector is never written, whatever is asked; an operation begins only with
// clean error flags and enough supply; the interface is locked before and
// after each call; everything written is read back; every wait is bounded and
// feeds the watchdog, from ITCM, because the bank being written answers no
// fetch. Interrupts are off while the loader runs.

#include "flash.h"
#include "h743.h"
#include "machine.h"
#include "mem.h"

// Copied to ITCM at start; calls nothing that is not there itself.
#define RAMFUNC __attribute__((section(".ramfunc"), noinline))

#define WORDS_PER_FLASH_WORD (FLASH_WORD / 4u)
#define WAIT_POLLS 0x04000000u // more than 30 s at 64 MHz: worn sectors need 10
#define READ_BLOCK 256u

#define OPERATION_ERRORS \
    (SR_WRPERR | SR_PGSERR | SR_STRBERR | SR_INCERR | SR_OPERR)

static uint32_t
registers_of(uint32_t address)
{
    return address < FLASH_BANK2 ? FLASH_BANK1_REGISTERS
                                 : FLASH_BANK2_REGISTERS;
}

static int
is_in_one_bank(uint32_t address, uint32_t size)
{
    return address - FLASH_BANK1 < 2 * FLASH_BANK_SPAN &&
           size <= FLASH_BANK_SPAN - address % FLASH_BANK_SPAN;
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
    // of staging, only the header's sector
    return is_ours_to_write(address, SECTOR_SIZE) ||
           address == info_block.staging.start;
}

// Whatever else a register happens to hold could erase a whole bank: only what
// is seen to be right is written to an open control register.
__attribute__((always_inline)) static inline void
set_control(uint32_t bank, const uint32_t value)
{
    uint32_t control = value;
    FORGET(control);
    if (control == value) {
        REG(bank + FLASH_CR) = control;
    }
}

NOINLINE static void
lock(uint32_t bank)
{
    if (!(REG(bank + FLASH_CR) & CR_LOCK)) {
        set_control(bank, CR_PSIZE_X64 | CR_LOCK);
    }
    REG(bank + FLASH_CCR) = CCR_ALL;
}

void
flash_open(void)
{
    lock(FLASH_BANK1_REGISTERS);
    lock(FLASH_BANK2_REGISTERS);
    const uint32_t level = info_block.supply_level << PWR_CR1_PLS_SHIFT;
    PWR_CR1 = (PWR_CR1 & ~PWR_CR1_PLS) | level | PWR_CR1_PVDE;
}

void
flash_close(void)
{
    lock(FLASH_BANK1_REGISTERS);
    lock(FLASH_BANK2_REGISTERS);
    PWR_CR1 &= ~(PWR_CR1_PLS | PWR_CR1_PVDE);
}

// A torn word answers with a bus fault. With FAULTMASK set and BFHFNMIGN on,
// the core carries on with garbage and the flash interface remembers.
static void
copy_with_faults_masked(uint8_t *out, uint32_t address, uint32_t size)
{
    const volatile uint32_t *in =
        (const volatile uint32_t *)(uintptr_t)address;
    const uint32_t ccr = SCB_CCR;
    __asm__ volatile("cpsid f" ::: "memory");
    SCB_CCR = ccr | CCR_BFHFNMIGN;
    barrier();
    for (; size >= 4; size -= 4, out += 4) {
        FORGET(in); // or gcc computes both anew from what is left
        FORGET(out);
        const uint32_t word = *in++;
        __builtin_memcpy(out, &word, 4);
    }
    if (size) {
        uint32_t word = *in;
        for (; size; size--, word >>= 8) {
            *out++ = (uint8_t)word;
        }
    }
    barrier();
    SCB_CCR = ccr;
    barrier();
    __asm__ volatile("cpsie f" ::: "memory");
}

enum flash_result
flash_read(void *out, uint32_t address, uint32_t size)
{
    if (address & 3u || !is_in_one_bank(address, size)) {
        memset(out, 0, size);
        return FLASH_RANGE;
    }
    const uint32_t bank = registers_of(address);
    REG(bank + FLASH_CCR) = CCR_ALL; // speculation may have left flags
    copy_with_faults_masked(out, address, size);
    const uint32_t status = REG(bank + FLASH_SR);
    if (status & SR_DBECCERR) {
        REG(bank + FLASH_CCR) = CCR_ALL;
        memset(out, 0, size);
        return FLASH_UNREADABLE;
    }
    return status & SR_SNECCERR ? FLASH_CORRECTED : FLASH_OK;
}

enum flash_result
flash_compare(uint32_t address, const void *data, uint32_t size)
{
    uint32_t block[READ_BLOCK / 4];
    const uint8_t *expected = data;
    while (size) {
        const uint32_t take = min_u32(size, sizeof block);
        const enum flash_result result = flash_read(block, address, take);
        if (result != FLASH_OK) {
            return result;
        }
        if (memcmp(block, expected, take)) {
            return FLASH_FAILED;
        }
        address += take;
        expected += take;
        size -= take;
    }
    return FLASH_OK;
}

enum flash_result
flash_blank(uint32_t address, uint32_t size)
{
    uint32_t block[READ_BLOCK / 4];
    while (size) {
        const uint32_t take = min_u32(size, sizeof block);
        const enum flash_result result = flash_read(block, address, take);
        if (result != FLASH_OK) {
            return result;
        }
        if (mem_differs_from(block, 0xff, take)) {
            return FLASH_FAILED;
        }
        address += take;
        size -= take;
    }
    return FLASH_OK;
}

// However long it takes: giving up would refuse a good update for want of
// power.
static void
wait_for_supply(void)
{
    while (PWR_CSR1 & PWR_CSR1_PVDO) {
        machine_feed_watchdog();
    }
}

// QW falls when the whole queue is done; BSY drops between its steps.
RAMFUNC static uint32_t
ram_wait(uint32_t bank)
{
    uint32_t status = SR_QW;
    for (uint32_t poll = 0; poll < WAIT_POLLS; poll++) {
        status = REG(bank + FLASH_SR);
        if (!(status & (SR_QW | SR_BSY))) {
            break;
        }
        IWDG_KR = IWDG_FEED;
    }
    return status;
}

RAMFUNC static uint32_t
ram_program(uint32_t bank, uint32_t address, const uint32_t *data)
{
    volatile uint32_t *word = (volatile uint32_t *)(uintptr_t)address;
    set_control(bank, CR_PSIZE_X64 | CR_PG);
    barrier();
    for (uint32_t i = 0; i < WORDS_PER_FLASH_WORD; i++) {
        word[i] = data[i];
    }
    barrier();
    return ram_wait(bank);
}

RAMFUNC static uint32_t
ram_erase(uint32_t bank, uint32_t control)
{
    if ((control & ~CR_SNB) != (CR_PSIZE_X64 | CR_SER)) {
        return SR_QW;
    }
    REG(bank + FLASH_CR) = control;
    REG(bank + FLASH_CR) = control | CR_START;
    barrier();
    return ram_wait(bank);
}

// Leaves the bank unlocked and clean, with the supply for one operation.
static void
begin(uint32_t bank)
{
    wait_for_supply();
    if (REG(bank + FLASH_CR) & CR_LOCK) {
        REG(bank + FLASH_KEYR) = FLASH_KEY1;
        REG(bank + FLASH_KEYR) = FLASH_KEY2;
    }
    REG(bank + FLASH_CCR) = CCR_ALL;
}

static enum flash_result
end(uint32_t bank, uint32_t status)
{
    lock(bank);
    const uint32_t bad = OPERATION_ERRORS | SR_QW | SR_BSY;
    return status & bad ? FLASH_FAILED : FLASH_OK;
}

// What these would erase.
static uint32_t
sector_of(uint32_t bank, uint32_t control)
{
    const uint32_t start =
        bank == FLASH_BANK1_REGISTERS ? FLASH_BANK1 : FLASH_BANK2;
    return start + (control >> CR_SNB_SHIFT) * SECTOR_SIZE;
}

enum flash_result
flash_erase_sector(uint32_t address)
{
    if (address % SECTOR_SIZE || !is_ours_to_erase(address)) {
        return FLASH_RANGE;
    }
    uint32_t bank = registers_of(address);
    const uint32_t sector = address % FLASH_BANK_SPAN / SECTOR_SIZE;
    uint32_t control = CR_PSIZE_X64 | CR_SER | sector << CR_SNB_SHIFT;
    begin(bank);
    FORGET(bank);
    FORGET(address);
    FORGET(control);
    if (sector_of(bank, control) != address || !is_ours_to_erase(address)) {
        machine_panic();
    }
    const enum flash_result result = end(bank, ram_erase(bank, control));
    return result == FLASH_OK ? flash_blank(address, SECTOR_SIZE) : result;
}

NODISCARD static enum flash_result
program_word(uint32_t address, const uint32_t *data)
{
    const uint32_t bank = registers_of(address);
    begin(bank);
    return end(bank, ram_program(bank, address, data));
}

enum flash_result
flash_program(uint32_t address, const void *data, uint32_t size)
{
    if ((address | size) % FLASH_WORD || !is_ours_to_write(address, size)) {
        return FLASH_RANGE;
    }
    const uint8_t *from = data;
    for (uint32_t at = 0; at < size; at += FLASH_WORD) {
        uint32_t word[WORDS_PER_FLASH_WORD];
        memcpy(word, from + at, FLASH_WORD);
        // whether a word of ones stays virgin is nowhere written: leave it
        if (!mem_differs_from(word, 0xff, FLASH_WORD)) {
            continue;
        }
        const enum flash_result result = program_word(address + at, word);
        if (result != FLASH_OK) {
            return result;
        }
    }
    return flash_compare(address, data, size);
}
