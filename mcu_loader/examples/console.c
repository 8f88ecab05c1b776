// console.c
//
// Text output of the example applications, see console.h.

#include "console.h"

#define REG(address) (*(volatile uint32_t *)(address))

#define RCC_AHB4ENR  REG(0x580244E0u)
#define RCC_APB1LENR REG(0x580244E8u)
#define GPIOD_MODER  REG(0x58020C00u)
#define GPIOD_AFRH   REG(0x58020C24u)
#define USART3_CR1   REG(0x40004800u)
#define USART3_BRR   REG(0x4000480Cu)
#define USART3_ISR   REG(0x4000481Cu)
#define USART3_TDR   REG(0x40004828u)

#define GPIODEN  (1u << 3)
#define USART3EN (1u << 18)
#define UE       (1u << 0)
#define TE       (1u << 3)
#define TXE      (1u << 7)

void
console_init(void)
{
    RCC_AHB4ENR |= GPIODEN;
    RCC_APB1LENR |= USART3EN;
    (void)RCC_APB1LENR; // RM0433 8.5.10: two cycles until the clock runs
    GPIOD_AFRH = (GPIOD_AFRH & ~0xFu) | 7u;               // PD8: AF7
    GPIOD_MODER = (GPIOD_MODER & ~(3u << 16)) | 2u << 16; // alternate
    USART3_BRR = 64000000u / 115200u;
    USART3_CR1 = UE | TE;
}

static void
put(char c)
{
    while (!(USART3_ISR & TXE)) {
    }
    USART3_TDR = (uint8_t)c;
}

void
console_text(const char *text)
{
    while (*text) {
        put(*text++);
    }
}

void
console_number(uint32_t value)
{
    char digits[11];
    char *at = &digits[10];
    *at = 0;
    do {
        *--at = (char)('0' + value % 10u);
        value /= 10u;
    } while (value);
    console_text(at);
}

void
console_version(uint32_t version)
{
    console_number(version >> 24);
    put('.');
    console_number(version >> 16 & 0xFFu);
    put('.');
    console_number(version & 0xFFFFu);
}
