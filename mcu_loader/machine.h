// machine.h
//
// The other seam: what is of the chip but not of its flash. machine_h743.c is
// the chip; the host tests link another file.

#ifndef SPLITFLASH_MACHINE_H
#define SPLITFLASH_MACHINE_H

#include "loader.h"

// Switches off whatever an earlier program left on, guards memory.
void machine_open(void);
// Instruction cache on, for work that takes longer than a blink.
void machine_long_work(void);

NODISCARD uint32_t machine_flash_kib(void);
// Read-out protection level 0: the ROM bootloader could do something.
NODISCARD int machine_is_unprotected(void);
NODISCARD uint32_t machine_reset_cause(void);

void machine_feed_watchdog(void);
void machine_hand_over(const struct result_record *record);

// Every way out but a reset wipes all RAM the loader used, stack included.
NORETURN void machine_start(uint32_t vectors, uint32_t sp, uint32_t pc);
NORETURN void machine_enter_rom(void);
NORETURN void machine_park(void);
NORETURN void machine_reset(void);
// For what cannot happen: starts over by reset, parks when that repeats.
NORETURN void machine_panic(void);

#endif
