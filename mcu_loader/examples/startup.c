// startup.c
//
// Start-up of the example applications. Expects what a reset leaves, which is
// also what the loader leaves: HSI 64 MHz, caches, MPU and interrupts off.

#include <stdint.h>

extern uint32_t _estack, _sidata, _sdata, _edata, _sbss, _ebss;

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
__attribute__((section(".isr_vector"), used)) static const struct {
    uint32_t *initial_sp;
    void (*handlers[15])(void);
} vectors = {
    &_estack,
    { Reset_Handler, halt, halt, halt, halt, halt, 0, 0, 0, 0, halt, halt, 0,
      halt, halt },
};

void
Reset_Handler(void)
{
    const uint32_t *from = &_sidata;
    for (uint32_t *to = &_sdata; to < &_edata; to++) {
        *to = *from++;
    }
    for (uint32_t *to = &_sbss; to < &_ebss; to++) {
        *to = 0;
    }
    main();
    halt();
}
