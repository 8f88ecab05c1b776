// Vectors, start and default handlers of the small programs.
#include "mini.h"

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    STACK, (uintptr_t)reset, 0, (uintptr_t)hard_fault, 0, (uintptr_t)bus_fault, 0,
    0, 0, 0, 0, (uintptr_t)svcall, 0, 0, 0, (uintptr_t)tick,
};

__attribute__((weak, aligned(32))) void hard_fault(void) { print("hard fault\n"); for (;;) {} }
__attribute__((weak, aligned(32))) void bus_fault(void) { print("bus fault\n"); for (;;) {} }
__attribute__((weak, aligned(32))) void tick(void) {}
__attribute__((weak, aligned(32))) void svcall(void) {}

extern uint32_t _itcm[], _itcm_end[], _itcm_from[];

__attribute__((used)) void reset(void)
{
    for (uint32_t *to = _itcm, *from = _itcm_from; to < _itcm_end;) {
        *to++ = *from++;
    }
    main();
    for (;;) {}
}

