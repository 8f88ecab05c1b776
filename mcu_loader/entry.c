// entry.c
//
// Who asks for the loader's own door although an application could be started:
// the application itself, a pin, two resets in a row, an application that ends
// in a reset again and again; and the way from here to the door's code in ITCM.
// Promises: a request counts once; what the last start left in the backup
// registers is believed only if power was on all the time; the pin is left as
// after reset.

#include "door.h"
#include "door_dfu.h"
#include "mailbox.h"
#include "pin.h"

// Set by the linker script.
extern uint32_t door_load[], door_start[], door_end[];

#define HEALTH_MAGIC_MASK 0xffff0000u
#define HEALTH_MOST 0xffu

#define SETTLE_POLLS 0x40u // the pull takes some microseconds, IDR a few cycles
#define HELD_POLLS 0x2000u // about a millisecond
#define PULL_UP 1u
#define PULL_DOWN 2u
#define SLOWEST_PRESCALER 6u // 256: with the longest count 32 s
#define LONGEST_COUNT 0xfffu

#define POWER_CAME_ON (RSR_POR | RSR_BOR)
// A watchdog, or what a handler of faults does.
#define APPLICATION_FAILED (RSR_IWDG | RSR_WWDG | RSR_SFT)
#define NOT_ONLY_THE_PIN (POWER_CAME_ON | APPLICATION_FAILED | RSR_LPWR)

static uint32_t failures; // since the application was last alive

// YES while the application started last has not said that it is alive.
static uint32_t
read_health(uint32_t *count)
{
    const uint32_t health = MAILBOX_HEALTH;
    *count = health >> 8 & 0xffu;
    return (health & HEALTH_MAGIC_MASK) == HEALTH_MAGIC &&
                   (health & 0xffu) == (~*count & 0xffu)
               ? YES
               : NO;
}

static uint32_t
is_asked_by_resets(void)
{
    const uint32_t cause = RCC_RSR;
    uint32_t count;
    failures = 0;
    if (cause & POWER_CAME_ON || read_health(&count) != YES) {
        return NO;
    }
    failures = count;
    if (cause & APPLICATION_FAILED) {
        failures = min_u32(count + 1, HEALTH_MOST);
        return info_block.watchdog_resets &&
                       failures >= info_block.watchdog_resets
                   ? YES
                   : NO;
    }
    return cause & RSR_PIN && !(cause & NOT_ONLY_THE_PIN) &&
                   info_block.entry_flags & ENTRY_DOUBLE_RESET
               ? YES
               : NO;
}

// Pulled to the level it has when nobody holds it; one such level says so.
static uint32_t
is_pin_held(void)
{
    if (info_block.entry_pin == PIN_NONE) {
        return NO;
    }
    const struct pin pin = pin_of(info_block.entry_pin);
    const uint32_t gpio = GPIO(pin.port);
    const uint32_t field = 3u << 2 * pin.number;
    const uint32_t pull = (pin.active ? PULL_DOWN : PULL_UP) << 2 * pin.number;

    pin_clock(pin);
    REG(gpio + GPIO_PUPDR) = (REG(gpio + GPIO_PUPDR) & ~field) | pull;
    pin_mode(pin, 0);
    for (uint32_t i = 0; i < SETTLE_POLLS; i++) {
        (void)REG(gpio + GPIO_IDR);
    }
    uint32_t poll = 0;
    while (poll < HELD_POLLS &&
           (REG(gpio + GPIO_IDR) >> pin.number & 1u) == pin.active) {
        poll++;
    }
    pin_close(pin);
    return poll == HELD_POLLS ? YES : NO;
}

uint32_t
door_wanted(void)
{
    mailbox_open();
    uint32_t wanted = is_asked_by_resets();
    if (mailbox_take_request() == YES) {
        wanted = YES;
    }
    if (is_pin_held() == YES) {
        wanted = YES;
    }
    mailbox_close();
    return wanted;
}

// An application that hangs in its first instruction starts no watchdog: so it
// is started here if it is to count. One that runs already is only slowed down.
static void
start_watchdog(void)
{
    IWDG_KR = IWDG_START;
    IWDG_KR = IWDG_UNLOCK;
    IWDG_PR = SLOWEST_PRESCALER; // without waiting for it to take effect
    IWDG_RLR = LONGEST_COUNT;
    IWDG_KR = IWDG_FEED;
}

void
door_before_app(void)
{
    mailbox_open();
    MAILBOX_HEALTH = HEALTH_MAGIC | failures << 8 | (~failures & 0xffu);
    mailbox_close();
    RCC_RSR = RSR_RMVF; // so that the next start sees its own cause only
    if (info_block.watchdog_resets) {
        start_watchdog();
    }
}

void
door_stay(void)
{
    mailbox_open();
    MAILBOX_HEALTH = 0; // whatever comes by the door gets all its chances
    mailbox_close();
    RCC_RSR = RSR_RMVF;
    MPU_CTRL = 0; // which guards ITCM against writes
    barrier();
    const uint32_t *from = door_load;
    for (uint32_t *to = door_start; to != door_end; to++) {
        *to = *from++;
    }
    MPU_CTRL = MPU_ON;
    barrier();
    door_enter();
}
