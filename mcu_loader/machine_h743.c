// machine_h743.c
//
// Promises: after machine_open() nothing an earlier program started still
// runs, and nothing but the loader's own sector and ITCM can be executed;
// every way out (app, ROM, parking) leaves the core as after reset and no
// byte of the loader's RAM behind.

#include "machine.h"

#include "flash.h"
#include "h743.h"
#include "indicator.h"
#include "mem.h"

#define READY_POLLS 0x00010000u
#define ROM_VECTORS 0x1ff09800u // AN2606: stack pointer and entry point
#define NVIC_WORDS 5u           // 150 interrupts
#define FAULTS_BEFORE_PARKING 3u
#define SRAM123_CLOCKS (7u << 29)
#define RCC_AHB2ENR REG(RCC + 0xdcu)

extern uint32_t stack_top[];
extern uint32_t ram_start[], ram_end[];
extern void (*const vectors[])(void);

// Peripherals the ROM's interfaces and careless applications leave running: the
// bits of the reset registers, one behind the other (RM0433 section 8.7).
#define RCC_FIRST_RESET 0x7cu
static const uint32_t reset_bits[] = {
    0x00015031, // AHB3: MDMA, DMA2D, JPEG, FMC, QSPI, SDMMC1
    0x0a008023, // AHB1: DMA1/2, ADC1/2, ETH, USB1, USB2
    0x00000241, // AHB2: DCMI, RNG, SDMMC2
    0x002007ff, // AHB4: GPIOA..K, BDMA
    0x00000008, // APB3: LTDC
    0xe8ffc3ff, // APB1L: timers, SPI2/3, USART2..8, I2C1..3
    0x00000136, // APB1H: CRS, SWP, OPAMP, MDIOS, FDCAN
    0x31d73033, // APB2: timers, USART1/6, SPI1/4/5, SAI, DFSDM
    0x0020deaa, // APB4: SYSCFG, LPUART1, SPI6, I2C4, LPTIM, VREF
};

// Zero after reset, by register offset: prescalers, what clocks peripherals,
// clock enables. AHB4 and APB4 keep what reset gives them.
static const uint8_t clock_registers[] = { 0x18, 0x1c, 0x20, 0x4c, 0x50,
                                           0x54, 0x58, 0xd4, 0xd8, 0xdc,
                                           0xe8, 0xec, 0xf0 };

// MPU regions; with PRIVDEFENA off, what is not listed cannot be reached.
// RASR = XN 28 | AP 26:24 | TEX 21:19 | C 17 | B 16 | SIZE 5:1 | ENABLE 0
#define XN (1u << 28)
#define READ_WRITE (3u << 24)
#define READ_ONLY (6u << 24)
#define NO_ACCESS 0u
#define NON_CACHEABLE (1u << 19)
#define CACHEABLE (1u << 17) // write-through
#define DEVICE (1u << 16) // nothing is read but what is asked for
#define POWER_OF_TWO(n) ((((uint32_t)(n)-1u) << 1) | 1u)

struct region {
    uintptr_t base;
    uint32_t attributes;
};

static const struct region regions[] = {
    { 0x00000000, READ_ONLY | NON_CACHEABLE | POWER_OF_TWO(16) }, // ITCM
    { 0x08000000, XN | READ_WRITE | DEVICE | POWER_OF_TWO(21) }, // flash
    { (uintptr_t)vectors, READ_ONLY | CACHEABLE | POWER_OF_TWO(17) }, // loader
    { 0x1ff00000, XN | NO_ACCESS | POWER_OF_TWO(19) }, // speculation stays out
    { 0x20000000, XN | READ_WRITE | NON_CACHEABLE | POWER_OF_TWO(29) }, // RAM
    { 0x40000000, XN | READ_WRITE | DEVICE | POWER_OF_TWO(29) }, // peripherals
};

static uint32_t flash_kib;

// Survives a reset; random after power-on, hence the complement.
KEPT static uint32_t fault_run[2];

static void
stop_interrupts(void)
{
    SYST_CSR = 0;
    for (uint32_t i = 0; i < NVIC_WORDS; i++) {
        NVIC_ICER(i) = 0xffffffffu;
        NVIC_ICPR(i) = 0xffffffffu;
    }
    SCB_ICSR = ICSR_PENDSTCLR | ICSR_PENDSVCLR;
    SCB_SHCSR = 0; // every fault is a HardFault
}

// Without writing back what an earlier program left in the data cache: nobody
// waits for it, and whoever switches that cache on next invalidates it first.
static void
stop_caches(void)
{
    barrier();
    SCB_CCR = CCR_RESET;
    barrier();
    SCB_ICIALLU = 0;
    barrier();
}

static void
run_from_hsi(void)
{
    RCC_CR = (RCC_CR & ~RCC_CR_HSIDIV) | RCC_CR_HSION;
    for (uint32_t i = 0; i < READY_POLLS && !(RCC_CR & RCC_CR_HSIRDY); i++) {
    }
    RCC_CFGR = 0;
    for (uint32_t i = 0; i < READY_POLLS && (RCC_CFGR & RCC_CFGR_SWS); i++) {
    }
    RCC_CR = RCC_CR_HSION; // HSE, PLLs, HSI48 and CSI off
}

static void
reset_peripherals(void)
{
    for (uint32_t i = 0; i < sizeof reset_bits / sizeof *reset_bits; i++) {
        REG(RCC + RCC_FIRST_RESET + 4 * i) = reset_bits[i];
        REG(RCC + RCC_FIRST_RESET + 4 * i) = 0;
    }
    for (uint32_t i = 0; i < sizeof clock_registers; i++) {
        REG(RCC + clock_registers[i]) = 0;
    }
}

// A region that an earlier program or a reset left enabled would rule as soon
// as anybody switches the MPU on, and so would one of ours.
static void
open_memory(void)
{
    MPU_CTRL = 0;
    barrier();
    for (uint32_t i = MPU_REGIONS; i;) {
        MPU_RNR = --i;
        MPU_RASR = 0;
    }
}

static void
guard_memory(void)
{
    for (uint32_t i = 0; i < sizeof regions / sizeof *regions; i++) {
        MPU_RBAR = regions[i].base | RBAR_VALID | i;
        MPU_RASR = regions[i].attributes;
    }
    MPU_CTRL = MPU_ON;
    barrier();
}

void
machine_open(void)
{
    machine_feed_watchdog();
    stop_interrupts();
    open_memory();
    stop_caches();
    FLASH_ACR = FLASH_ACR_RESET; // before the clock changes
    run_from_hsi();
    reset_peripherals();
    flash_kib = FLASH_SIZE_KIB; // the MPU closes this region next
    guard_memory();
}

// Everything the loader works on lies in DTCM, which no cache covers, so the
// instruction cache is the one that helps. ES0392 2.1.1 and 2.1.4 are reasons
// to leave the other one alone.
void
machine_long_work(void)
{
    SCB_ICIALLU = 0;
    barrier();
    SCB_CCR |= CCR_IC;
    barrier();
}

uint32_t
machine_flash_kib(void)
{
    return flash_kib;
}

int
machine_is_unprotected(void)
{
    return (FLASH_OPTSR_CUR >> RDP_SHIFT & 0xffu) == RDP_LEVEL0;
}

uint32_t
machine_reset_cause(void)
{
    return RCC_RSR; // left for the application to read and clear
}

void
machine_feed_watchdog(void)
{
    IWDG_KR = IWDG_FEED; // does nothing unless it is running
}

void
machine_hand_over(const struct result_record *record)
{
    for (uint32_t i = 0; i < sizeof info_block.ram / sizeof(struct area); i++) {
        if (area_holds(&info_block.ram[i], info_block.result_record,
                       sizeof *record)) {
            RCC_AHB2ENR |= SRAM123_CLOCKS; // in case it lies there
            (void)RCC_AHB2ENR;
            memcpy((void *)(uintptr_t)info_block.result_record, record,
                   sizeof *record);
            barrier();
        }
    }
}

static void
close_everything(void)
{
    machine_feed_watchdog();
    indicator_close();
    flash_close();
    open_memory();
    stop_caches();
    stop_interrupts();
    SCB_CFSR = 0xffffffffu; // reading a torn word leaves its flags
    fault_run[0] = 0;
    fault_run[1] = 0;
    barrier();
}

// r0 = stack pointer, r1 = where to go. Uses no stack: it wipes it.
__attribute__((naked, noreturn)) NOINLINE static void
wipe_and_go(uint32_t sp __attribute__((unused)),
            uint32_t pc __attribute__((unused)))
{
    __asm__ volatile("ldr r2, =ram_start\n\t"
                     "ldr r3, =ram_end\n\t"
                     "movs r4, #0\n\t"
                     "movs r5, #0\n\t"
                     "movs r6, #0\n\t"
                     "movs r7, #0\n\t"
                     "mov r8, r4\n\t"
                     "mov r9, r4\n\t"
                     "mov r10, r4\n\t"
                     "mov r11, r4\n\t"
                     "mov r12, r4\n"
                     "1:\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "stmia r2!, {r4-r11}\n\t"
                     "cmp r2, r3\n\t"
                     "blo 1b\n\t"
                     "movs r2, #0\n\t"
                     "movs r3, #0\n\t"
                     "mvn lr, r2\n\t"
                     "dsb\n\t"
                     "isb\n\t"
                     "msr msp, r0\n\t"
                     "cpsie i\n\t"
                     "bx r1\n\t"
                     ".ltorg");
}

void
machine_start(uint32_t new_vectors, uint32_t sp, uint32_t pc)
{
    close_everything();
    SCB_VTOR = new_vectors;
    barrier();
    wipe_and_go(sp, pc);
}

void
machine_enter_rom(void)
{
    close_everything();
    SCB_VTOR = ROM_VECTORS & ~0x7fu;
    barrier();
    wipe_and_go(REG(ROM_VECTORS), REG(ROM_VECTORS + 4));
}

// SysTick wakes the core without being taken, to feed a running watchdog and to
// let the light blink.
NORETURN static void
sleep_for_ever(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    SYST_RVR = 0x00ffffff; // 0.26 s
    SYST_CVR = 0;
    SYST_CSR = 7;
    for (;;) {
        machine_feed_watchdog();
        indicator_toggle();
        __asm__ volatile("wfi" ::: "memory");
        SCB_ICSR = ICSR_PENDSTCLR;
    }
}

void
machine_park(void)
{
    close_everything();
    wipe_and_go((uint32_t)(uintptr_t)stack_top,
                (uint32_t)(uintptr_t)sleep_for_ever);
}

// Takes a moment; sleeps if none comes.
void
machine_reset(void)
{
    barrier();
    SCB_AIRCR = AIRCR_RESET;
    for (uint32_t i = 0; i < READY_POLLS; i++) {
        barrier();
    }
    machine_park();
}

void
machine_panic(void)
{
    if (fault_run[1] != ~fault_run[0]) {
        fault_run[0] = 0;
    }
    const uint32_t run = fault_run[0] + 1;
    if (run > FAULTS_BEFORE_PARKING) {
        machine_park();
    }
    fault_run[0] = run;
    fault_run[1] = ~run;
    machine_reset();
}
