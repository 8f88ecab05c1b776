// main.c

#include "main.h"

#include "registers.h"
#include "usart.h"

static void
Tick_Init(void)
{
    SYST_RVR = SystemCoreClock / 1000u - 1u; // a millisecond
    SYST_CVR = 0;
    SYST_CSR = 7; // on, with its interrupt, from the core's clock
}

int
main(void)
{
    Tick_Init();
    MX_USART3_UART_Init();
    usart_text("application " APP_VERSION "\n");
    while (milliseconds < 2) {
    }
    usart_text("ticking\n");
    for (;;) {
        const int received = usart_received();
        if (received == '?') {
            usart_text("application " APP_VERSION "\n");
        }
        IWDG1_KR = 0xAAAAu; // does nothing unless the watchdog is running
        __asm__ volatile("wfi");
    }
}
