// pin.h
//
// One pin that the layout names. Inline, because the loader's own door uses it
// from ITCM while no function in flash can be called.

#ifndef SPLITFLASH_PIN_H
#define SPLITFLASH_PIN_H

#include "format.h"
#include "h743.h"

struct pin {
    uint32_t port; // 0 is A
    uint32_t number;
    uint32_t active; // the level that means something
};

// As the info block has it.
static inline struct pin
pin_of(uint32_t word)
{
    const struct pin pin = { word >> 8 & 0xfu, word & 0xfu, word >> 16 & 1u };
    return pin;
}

static inline void
pin_clock(struct pin pin)
{
    RCC_AHB4ENR |= 1u << pin.port;
    (void)RCC_AHB4ENR; // RM0433 8.5.10: two cycles until it runs
}

// Mode 0 is input, 1 output.
static inline void
pin_mode(struct pin pin, uint32_t mode)
{
    const uint32_t gpio = GPIO(pin.port);
    const uint32_t field = 3u << 2 * pin.number;
    REG(gpio + GPIO_MODER) =
        (REG(gpio + GPIO_MODER) & ~field) | mode << 2 * pin.number;
}

static inline uint32_t
pin_output(struct pin pin)
{
    return REG(GPIO(pin.port) + GPIO_ODR) >> pin.number & 1u;
}

// The level first, so that the pin never drives another one.
static inline void
pin_drive(struct pin pin, uint32_t level)
{
    pin_clock(pin);
    REG(GPIO(pin.port) + GPIO_BSRR) = 1u << (pin.number + (level ? 0 : 16));
    pin_mode(pin, 1);
}

static inline void
pin_toggle(struct pin pin)
{
    pin_clock(pin);
    pin_drive(pin, !pin_output(pin));
}

// The whole port as after reset.
static inline void
pin_close(struct pin pin)
{
    RCC_AHB4RSTR |= 1u << pin.port;
    RCC_AHB4RSTR &= ~(1u << pin.port);
    RCC_AHB4ENR &= ~(1u << pin.port);
}

#endif
