// usart.c, see usart.h. Polled.

#include "usart.h"

#include "main.h"
#include "registers.h"

#define GPIODEN (1u << 3)
#define USART3EN (1u << 18)
#define UE (1u << 0)
#define RE (1u << 2)
#define TE (1u << 3)
#define RXNE (1u << 5)
#define TXE (1u << 7)

void
MX_USART3_UART_Init(void)
{
    RCC_AHB4ENR |= GPIODEN;
    RCC_APB1LENR |= USART3EN;
    (void)RCC_APB1LENR; // RM0433 8.5.10: two cycles until the clock runs
    GPIOD_AFRH = (GPIOD_AFRH & ~0xFFu) | 0x77u;             // AF7
    GPIOD_MODER = (GPIOD_MODER & ~(15u << 16)) | 10u << 16; // alternate
    USART3_BRR = SystemCoreClock / 115200u;
    USART3_CR1 = UE | RE | TE;
}

static void
put(char c)
{
    while (!(USART3_ISR & TXE)) {
    }
    USART3_TDR = (uint8_t)c;
}

void
usart_text(const char *text)
{
    while (*text) {
        put(*text++);
    }
}

int
usart_received(void)
{
    return USART3_ISR & RXNE ? (int)(USART3_RDR & 0xFFu) : -1;
}
