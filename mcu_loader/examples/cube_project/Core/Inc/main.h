// main.h

#ifndef MAIN_H
#define MAIN_H

#include <stdint.h>

extern uint32_t SystemCoreClock;       // Hz
extern volatile uint32_t milliseconds; // since the tick began

#endif
