// door_dfu.c
//
// The loader's own DfuSe device, from the last look around to the reset that
// ends it. Promises: all of it, vectors and constants too, lies in ITCM, and
// nothing is fetched from a bank while that is changed; no key and no plain
// text is in RAM while it runs, and the keys in flash are closed by the MPU;
// the watchdog is fed; the only way out is a reset, which never cuts an
// operation.

#include "door_dfu.h"

#include "dfuse.h"
#include "h743.h"
#include "machine.h"
#include "pin.h"
#include "staging.h"
#include "usb_device.h"

#define SYSTEM_VECTORS 16
#define TICK 63999u // 1 ms at 64 MHz
#define BLINK 0x00ffffffu // 0.26 s, the longest
#define MPU_KEYS_REGION (RBAR_VALID | 6u) // behind those of machine_h743.c
#define MPU_CLOSED_256_BYTES (1u << 28 | 7u << 1 | 1u)
#define LEAVE_MS 50u  // the host fetches its last answer
#define OFF_BUS_MS 10u

extern uint32_t stack_top[];

NORETURN void door_main(void);
NORETURN void door_failed(void);
void door_fault(void);

__attribute__((section(".door_vectors"), used, aligned(128)))
void (*const door_vectors[SYSTEM_VECTORS])(void) = {
    (void (*)(void))(uintptr_t)stack_top,
    door_fault,
    door_fault, // NMI
    door_fault, // HardFault
    door_fault, // MemManage
    door_fault, // BusFault
    door_fault, // UsageFault
    0,
    0,
    0,
    0,
    door_fault, // SVCall
    door_fault, // DebugMonitor
    0,
    door_fault, // PendSV
    door_fault, // SysTick
};

// Constants in flash could not be read while its bank is changed.
static struct info_block info;

__attribute__((naked, noreturn)) void
door_enter(void)
{
    __asm__ volatile("cpsid i\n\t"
                     "ldr r0, =door_vectors\n\t"
                     "ldr r1, =0xe000ed08\n\t"
                     "str r0, [r1]\n\t"
                     "ldr r0, =ram_start\n\t"
                     "ldr r1, =ram_end\n\t"
                     "movs r2, #0\n\t"
                     "movs r3, #0\n"
                     "1:\n\t"
                     "stmia r0!, {r2, r3}\n\t"
                     "cmp r0, r1\n\t"
                     "blo 1b\n\t"
                     "ldr r0, =stack_top\n\t"
                     "msr msp, r0\n\t"
                     "dsb\n\t"
                     "isb\n\t"
                     "bl door_main\n\t"
                     "b .\n\t"
                     ".ltorg");
}

// The stack may be what failed, so take a fresh one.
__attribute__((naked, used)) void
door_fault(void)
{
    __asm__ volatile("ldr r1, =door_failed\n\t" GO_ON_IN_THREAD_MODE);
}

static void
feed_watchdog(void)
{
    IWDG_KR = IWDG_FEED;
}

static void
let_operations_end(void)
{
    while (staging_poll() == STAGING_BUSY) {
        feed_watchdog();
    }
}

__attribute__((used)) void
door_failed(void)
{
    let_operations_end();
    machine_panic();
}

// The MPU closes the system memory against speculation, and the chip's number
// lies there.
static void
read_uid(uint32_t uid[3])
{
    MPU_CTRL = 0;
    barrier();
    for (uint32_t i = 0; i < 3; i++) {
        uid[i] = UID(i);
    }
    MPU_CTRL = MPU_ON;
    barrier();
}

// Whatever goes wrong with an address, it does not read a key.
static void
close_keys(void)
{
    _Static_assert(sizeof(struct loader_keys) == 256, "one MPU region");
    MPU_RBAR = (uint32_t)(uintptr_t)&loader_keys | MPU_KEYS_REGION;
    MPU_RASR = MPU_CLOSED_256_BYTES;
    barrier();
}

static void
copy_info(void)
{
    const uint32_t *from = (const uint32_t *)(const void *)&info_block;
    uint32_t *to = (uint32_t *)(void *)&info;
    for (uint32_t i = 0; i < sizeof info / 4; i++) {
        to[i] = from[i];
    }
}

static void
serve(void)
{
    feed_watchdog();
    usb_poll();
    dfuse_work();
}

static void
start_ticking(uint32_t reload)
{
    SYST_RVR = reload;
    SYST_CVR = 0;
    SYST_CSR = SYST_CORE_CLOCK;
}

static void
blink(void)
{
    if (info.indicator_pin != PIN_NONE && SYST_CSR & SYST_PASSED) {
        pin_toggle(pin_of(info.indicator_pin));
    }
}

static void
serve_for(uint32_t milliseconds)
{
    start_ticking(TICK);
    while (milliseconds) {
        serve();
        if (SYST_CSR & SYST_PASSED) {
            milliseconds--;
        }
    }
}

__attribute__((used)) void
door_main(void)
{
    uint32_t uid[3];
    close_keys();
    copy_info();
    read_uid(uid);
    device_open(&info, uid);
    while (usb_open()) {
        feed_watchdog();
    }
    start_ticking(BLINK);
    while (dfuse_is_leaving() != YES) {
        serve();
        blink();
    }
    serve_for(LEAVE_MS);
    usb_close();
    serve_for(OFF_BUS_MS);
    let_operations_end();
    machine_reset();
}
