// app_uart.c
//
// An application that takes its own update over USART3 (PD9), the ST-LINK port
// of a NUCLEO-H743ZI2: send 'U', the size as four bytes (lowest first), then
// the .update.bin in blocks of 256 bytes, each after a '.' has asked for it.

#include "console.h"
#include "splitflash_layout.h"
#include "splitflash_stage.h"

#define REG(address) (*(volatile uint32_t *)(address))

#define GPIOD_MODER REG(0x58020C00u)
#define GPIOD_AFRH  REG(0x58020C24u)
#define USART3_CR1  REG(0x40004800u)
#define USART3_ISR  REG(0x4000481Cu)
#define USART3_RDR  REG(0x40004824u)
#define SCB_AIRCR   REG(0xE000ED0Cu)

#define RE    (1u << 2)
#define RXNE  (1u << 5)
#define RESET 0x05FA0004u
#define BLOCK 256u

static void
receiver_init(void)
{
    GPIOD_AFRH = (GPIOD_AFRH & ~0xF0u) | 0x70u;           // PD9: AF7
    GPIOD_MODER = (GPIOD_MODER & ~(3u << 18)) | 2u << 18; // alternate
    USART3_CR1 |= RE;
}

static uint8_t
get(void)
{
    while (!(USART3_ISR & RXNE)) {
    }
    return (uint8_t)USART3_RDR;
}

static uint32_t
get_word(void)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < 4; i++) {
        value |= (uint32_t)get() << 8 * i;
    }
    return value;
}

static enum splitflash_stage_result
receive(uint32_t size)
{
    static uint8_t block[BLOCK];
    enum splitflash_stage_result result = splitflash_stage_begin(size);
    while (result == SPLITFLASH_STAGE_OK && size) {
        const uint32_t count = size < BLOCK ? size : BLOCK;
        console_text("."); // flash is not busy now: no byte gets lost
        for (uint32_t i = 0; i < count; i++) {
            block[i] = get();
        }
        result = splitflash_stage_write(block, count);
        size -= count;
    }
    return result == SPLITFLASH_STAGE_OK ? splitflash_stage_finish() : result;
}

int
main(void)
{
    console_init();
    receiver_init();
    console_text("example application 1.5.0, send an update\n");
    for (;;) {
        if (get() != 'U') {
            continue;
        }
        const enum splitflash_stage_result result = receive(get_word());
        if (result == SPLITFLASH_STAGE_OK) {
            console_text("\nstaged, the loader installs it\n");
            SCB_AIRCR = RESET;
        }
        console_text("\nnot staged: ");
        console_number((uint32_t)-(int32_t)result);
        console_text("\n");
    }
}
