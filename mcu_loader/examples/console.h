// console.h: text output on USART3 (PD8), 115200 8N1, the ST-LINK port of a
// NUCLEO-H743ZI2. Polled; needs the 64 MHz HSI the chip resets to.

#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdint.h>

void console_init(void);
void console_text(const char *text);
void console_number(uint32_t value);
void console_version(uint32_t version); // major 8 bits, minor 8, patch 16

#endif
