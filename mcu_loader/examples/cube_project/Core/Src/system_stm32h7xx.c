// system_stm32h7xx.c: what has to be done before main(), and before .data.

#include "main.h"
#include "registers.h"

// Where the vector table is, for who sets it. Left out, it stays where the
// reset (or a loader) has set it.
// #define USER_VECT_TAB_ADDRESS
#define VECT_TAB_BASE_ADDRESS 0x08000000u
#define VECT_TAB_OFFSET 0x00000000u

uint32_t SystemCoreClock = 64000000u; // HSI, as after reset

void SystemInit(void);

void
SystemInit(void)
{
    SCB_CPACR |= 15u << 20; // the floating-point unit
#if defined(USER_VECT_TAB_ADDRESS)
    SCB_VTOR = VECT_TAB_BASE_ADDRESS | VECT_TAB_OFFSET;
#endif
}
