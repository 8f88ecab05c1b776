// startup.c
//
// Start-up of the example applications. Expects what a reset leaves, which is
// also what the loader leaves: HSI 64 MHz, caches, MPU and interrupts off.

#include <stdint.h>

extern uint32_t _stack_top, _data_load, _data_start, _data_end;
extern uint32_t _bss_start, _bss_end;

int main(void);
void Reset_Handler(void);

static void
halt(void)
{
    for (;;) {
        __asm volatile("wfi");
    }
}

// Core exceptions only: the examples enable no interrupt.
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *initial_sp;
    void (*handlers[15])(void);
} vectors = {
    &_stack_top,
    { Reset_Handler, halt, halt, halt, halt, halt, 0, 0, 0, 0, halt, halt, 0,
      halt, halt },
};

void
Reset_Handler(void)
{
    const uint32_t *from = &_data_load;
    for (uint32_t *to = &_data_start; to < &_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = &_bss_start; to < &_bss_end; to++) {
        *to = 0;
    }
    main();
    halt();
}
