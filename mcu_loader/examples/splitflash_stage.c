// splitflash_stage.c
//
// See splitflash_stage.h. Flash rules from RM0433 section 4.3: words of 32
// bytes, programmed once; flags cleared before; QW, not BSY, tells the end.

#include "splitflash_stage.h"

#include "splitflash_layout.h"

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define RAM_FUNCTION __attribute__((section(".RamFunc"), noinline))

#define HEADER_SIZE 640u // of format_version 1, whole flash words
#define SECTOR_SIZE 0x20000u
#define FLASH_WORD 32u
#define BANK_2 0x08100000u
#define BANK_SPAN 0x00100000u

#define REGISTERS_1 0x52002000u
#define REGISTERS_2 0x52002100u
#define KEYR 0x04u
#define CR 0x0cu
#define SR 0x10u
#define CCR 0x14u
#define KEY1 0x45670123u
#define KEY2 0xcdef89abu
#define CR_LOCK (1u << 0)
#define CR_PG (1u << 1)
#define CR_SER (1u << 2)
#define CR_PSIZE_X64 (3u << 4)
#define CR_START (1u << 7)
#define CR_SNB_SHIFT 8
#define SR_BUSY (1u << 0 | 1u << 2)
#define SR_ERRORS (1u << 17 | 1u << 18 | 1u << 19 | 1u << 21 | 1u << 22)
#define SR_ECC (1u << 25 | 1u << 26)
#define CCR_ALL 0x1fef0000u
#define MOST_POLLS 0x04000000u // far more than the 10 s of a worn sector

#define IWDG_KR REG(0x58004800u)
#define IWDG_FEED 0xaaaau
#define SCB_CCR REG(0xe000ed14u)
#define SCB_CCR_BFHFNMIGN (1u << 8)
#define SCB_DCIMVAC REG(0xe000ef5cu)

enum state {
    CLOSED,
    OPEN,
};

static struct {
    enum state state;
    uint32_t size;
    uint32_t received;
    uint32_t header[HEADER_SIZE / 4];
    uint32_t word[FLASH_WORD / 4]; // the one being filled
} stage;

// Always inline: a function of its own would lie in flash.
__attribute__((always_inline)) static inline void
barrier(void)
{
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

static uint32_t
registers_of(uint32_t address)
{
    return address < BANK_2 ? REGISTERS_1 : REGISTERS_2;
}

// --- in RAM ----------------------------------------------------------------

RAM_FUNCTION static uint32_t
run(uint32_t bank, uint32_t control, uint32_t address, const uint32_t *word)
{
    uint32_t status = SR_BUSY;
    REG(bank + CR) = control;
    if (word) {
        volatile uint32_t *flash = (volatile uint32_t *)(uintptr_t)address;
        barrier();
        for (uint32_t i = 0; i < FLASH_WORD / 4; i++) {
            flash[i] = word[i];
        }
    } else {
        REG(bank + CR) = control | CR_START;
    }
    barrier();
    for (uint32_t i = 0; i < MOST_POLLS && status & SR_BUSY; i++) {
        status = REG(bank + SR);
        IWDG_KR = IWDG_FEED; // does nothing unless it is running
    }
    return status;
}

// --- flash -----------------------------------------------------------------

static enum splitflash_stage_result
change(uint32_t control, uint32_t address, const uint32_t *word)
{
    const uint32_t bank = registers_of(address);
    if (REG(bank + CR) & CR_LOCK) {
        REG(bank + KEYR) = KEY1;
        REG(bank + KEYR) = KEY2;
    }
    REG(bank + CCR) = CCR_ALL;
    const uint32_t status = run(bank, control, address, word);
    REG(bank + CR) = CR_PSIZE_X64 | CR_LOCK;
    REG(bank + CCR) = CCR_ALL;
    return status & (SR_BUSY | SR_ERRORS) ? SPLITFLASH_STAGE_FLASH
                                          : SPLITFLASH_STAGE_OK;
}

// cut here: the sector holds anything, but no update that verifies
static enum splitflash_stage_result
erase(uint32_t address)
{
    const uint32_t sector = address % BANK_SPAN / SECTOR_SIZE;
    return change(CR_PSIZE_X64 | CR_SER | sector << CR_SNB_SHIFT, address, 0);
}

// A word that went bad answers with a bus fault; with FAULTMASK set and
// BFHFNMIGN on, the flash interface remembers instead.
static uint32_t
differs(uint32_t address, const uint32_t *word)
{
    const volatile uint32_t *flash = (const volatile uint32_t *)address;
    const uint32_t bank = registers_of(address);
    const uint32_t ccr = SCB_CCR;
    uint32_t difference = 0;
    SCB_DCIMVAC = address; // one line is one flash word
    barrier();
    __asm__ volatile("cpsid f" ::: "memory");
    SCB_CCR = ccr | SCB_CCR_BFHFNMIGN;
    barrier();
    // no loop: the core would read ahead of it, and a torn word behind this one
    // raise the flags
    difference |= flash[0] ^ word[0];
    difference |= flash[1] ^ word[1];
    difference |= flash[2] ^ word[2];
    difference |= flash[3] ^ word[3];
    difference |= flash[4] ^ word[4];
    difference |= flash[5] ^ word[5];
    difference |= flash[6] ^ word[6];
    difference |= flash[7] ^ word[7];
    barrier();
    SCB_CCR = ccr;
    barrier();
    __asm__ volatile("cpsie f" ::: "memory");
    difference |= REG(bank + SR) & SR_ECC;
    REG(bank + CCR) = CCR_ALL;
    return difference;
}

static int
is_blank(const uint32_t *word)
{
    uint32_t all = 0xffffffffu;
    for (uint32_t i = 0; i < FLASH_WORD / 4; i++) {
        all &= word[i];
    }
    return all == 0xffffffffu;
}

// `offset` in staging. Words of ones are left as the erase left them.
static enum splitflash_stage_result
program(uint32_t offset, const uint32_t *word)
{
    const uint32_t address = SPLITFLASH_STAGING_START + offset;
    enum splitflash_stage_result result = SPLITFLASH_STAGE_OK;
    if (offset && offset % SECTOR_SIZE == 0) {
        result = erase(address);
    }
    if (result == SPLITFLASH_STAGE_OK && !is_blank(word)) {
        // cut here: a torn word, but no update, because its mark is missing
        result = change(CR_PSIZE_X64 | CR_PG, address, word);
    }
    if (result == SPLITFLASH_STAGE_OK && differs(address, word)) {
        result = SPLITFLASH_STAGE_FLASH;
    }
    return result;
}

// --- the transfer ----------------------------------------------------------

static void
clear_word(void)
{
    for (uint32_t i = 0; i < FLASH_WORD / 4; i++) {
        stage.word[i] = 0xffffffffu;
    }
}

// Whatever goes wrong ends the transfer.
static enum splitflash_stage_result
settle(enum splitflash_stage_result result)
{
    if (result != SPLITFLASH_STAGE_OK) {
        stage.state = CLOSED;
    }
    return result;
}

enum splitflash_stage_result
splitflash_stage_begin(uint32_t size)
{
    stage.state = CLOSED;
    if (size < HEADER_SIZE || size > SPLITFLASH_STAGING_SIZE) {
        return SPLITFLASH_STAGE_SIZE;
    }
    stage.state = OPEN;
    stage.size = size;
    stage.received = 0;
    clear_word();
    return settle(erase(SPLITFLASH_STAGING_START));
}

static enum splitflash_stage_result
take(uint8_t byte)
{
    const uint32_t at = stage.received++;
    if (at < HEADER_SIZE) {
        ((uint8_t *)stage.header)[at] = byte;
        return SPLITFLASH_STAGE_OK;
    }
    ((uint8_t *)stage.word)[at % FLASH_WORD] = byte;
    if (stage.received % FLASH_WORD) {
        return SPLITFLASH_STAGE_OK;
    }
    const enum splitflash_stage_result result =
        program(stage.received - FLASH_WORD, stage.word);
    clear_word();
    return result;
}

enum splitflash_stage_result
splitflash_stage_write(const void *data, uint32_t size)
{
    const uint8_t *bytes = data;
    if (stage.state != OPEN || size > stage.size - stage.received) {
        return settle(SPLITFLASH_STAGE_ORDER);
    }
    enum splitflash_stage_result result = SPLITFLASH_STAGE_OK;
    for (; size && result == SPLITFLASH_STAGE_OK; size--) {
        result = take(*bytes++);
    }
    return settle(result);
}

static int
begins_as_an_update(void)
{
    const uint8_t *header = (const uint8_t *)stage.header;
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 8; i++) {
        wrong |= (uint32_t)(header[i] ^ (uint8_t)"SPLTFLSH"[i]);
    }
    return !wrong;
}

enum splitflash_stage_result
splitflash_stage_finish(void)
{
    if (stage.state != OPEN || stage.received != stage.size) {
        return settle(SPLITFLASH_STAGE_ORDER);
    }
    if (!begins_as_an_update()) {
        return settle(SPLITFLASH_STAGE_NO_UPDATE);
    }
    enum splitflash_stage_result result = SPLITFLASH_STAGE_OK;
    const uint32_t rest = stage.size % FLASH_WORD;
    if (rest) {
        result = program(stage.size - rest, stage.word);
    }
    // downwards: the first word, which has the mark, is the last one written
    for (uint32_t at = HEADER_SIZE; at && result == SPLITFLASH_STAGE_OK;) {
        at -= FLASH_WORD;
        result = program(at, stage.header + at / 4);
    }
    stage.state = CLOSED;
    return result;
}

void
splitflash_stage_abort(void)
{
    stage.state = CLOSED;
}
