// startup.c
//
// From reset to loader_main(), and what happens on a fault. Assumes nothing
// about the state it is entered in: the ROM bootloader's "leave" jumps here
// with clocks, USB and perhaps interrupts still running.

#include "h743.h"
#include "machine.h"

// Set by the linker script. The stack grows down towards the start of DTCM,
// so that running out of it faults instead of overwriting data.
extern uint32_t stack_top[];
extern uint32_t ramfunc_load[], ramfunc_start[], ramfunc_end[];
extern uint32_t data_load[], data_start[], data_end[];
extern uint32_t bss_start[], bss_end[];

NORETURN void Reset_Handler(void);
NORETURN void start(void);
NORETURN void loader_main(void);
void go_on(void);
void fault(void);

#define SYSTEM_VECTORS 16

__attribute__((section(".vectors"), used))
void (*const vectors[SYSTEM_VECTORS])(void) = {
    (void (*)(void))(uintptr_t)stack_top,
    Reset_Handler,
    fault, // NMI
    fault, // HardFault
    fault, // MemManage
    fault, // BusFault
    fault, // UsageFault
    0,
    0,
    0,
    0,
    fault, // SVCall
    fault, // DebugMonitor
    0,
    fault, // PendSV
    fault, // SysTick
};

__attribute__((naked, used)) void
go_on(void)
{
    __asm__ volatile(GO_ON_IN_THREAD_MODE);
}

// Interrupts off and our vectors in place before anything else. The caller may
// have kept its own stack, and may have come here out of a handler.
__attribute__((naked, used)) void
Reset_Handler(void)
{
    __asm__ volatile("cpsid i\n\t"
                     "ldr r0, =vectors\n\t"
                     "ldr r1, =0xe000ed08\n\t"
                     "str r0, [r1]\n\t"
                     "movs r0, #0\n\t"
                     "msr control, r0\n\t"
                     "msr basepri, r0\n\t"
                     "msr faultmask, r0\n\t"
                     "ldr r1, =start\n\t"
                     "b go_on\n\t"
                     ".ltorg");
}

// The stack may be what failed, so take a fresh one.
__attribute__((naked, used)) void
fault(void)
{
    __asm__ volatile("ldr r1, =machine_panic\n\t"
                     "b go_on\n\t"
                     ".ltorg");
}

static void
copy_words(uint32_t *to, const uint32_t *end, const uint32_t *from)
{
    while (to != end) {
        *to++ = *from++;
    }
}

__attribute__((used)) void
start(void)
{
    copy_words(ramfunc_start, ramfunc_end, ramfunc_load);
    copy_words(data_start, data_end, data_load);
    for (uint32_t *word = bss_start; word < bss_end; word += 4) {
        word[0] = word[1] = word[2] = word[3] = 0;
    }
    barrier(); // the copied code is seen by the next fetch
    machine_open();
    loader_main();
}
