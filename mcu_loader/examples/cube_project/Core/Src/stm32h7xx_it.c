// stm32h7xx_it.c: the interrupts of this project.

#include "main.h"

volatile uint32_t milliseconds;

void SysTick_Handler(void);

void
SysTick_Handler(void)
{
    milliseconds++;
}
