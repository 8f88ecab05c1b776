// h743.h
//
// The registers of the STM32H743 and its Cortex-M7 that the loader touches.
// Numbers from RM0433 and the Armv7-M manual. Included by the files that are
// the chip (startup.c, flash_h743.c, machine_h743.c; with a door of its own
// also door_dfu.c, otg_fs.c, staging_h743.c), through pin.h and mailbox.h by
// door_rom.c, entry.c and indicator_pin.c, and by nobody else.

#ifndef SPLITFLASH_H743_H
#define SPLITFLASH_H743_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

// Flash interface: one register set per bank.
#define FLASH_BANK1_REGISTERS 0x52002000u
#define FLASH_BANK2_REGISTERS 0x52002100u
#define FLASH_BANK1 0x08000000u
#define FLASH_BANK2 0x08100000u
#define FLASH_BANK_SPAN 0x00100000u
#define FLASH_ACR REG(0x52002000u)
#define FLASH_ACR_RESET 0x37u // valid at every clock and voltage
#define FLASH_KEYR 0x04u
#define FLASH_CR 0x0cu
#define FLASH_SR 0x10u
#define FLASH_CCR 0x14u
#define FLASH_OPTSR_CUR REG(0x5200201cu)
#define FLASH_KEY1 0x45670123u
#define FLASH_KEY2 0xcdef89abu
#define CR_LOCK (1u << 0)
#define CR_PG (1u << 1)
#define CR_SER (1u << 2)
#define CR_PSIZE_X64 (3u << 4)
#define CR_START (1u << 7)
#define CR_SNB_SHIFT 8
#define CR_SNB (7u << CR_SNB_SHIFT)
#define SR_BSY (1u << 0)
#define SR_QW (1u << 2)
#define SR_WRPERR (1u << 17)
#define SR_PGSERR (1u << 18)
#define SR_STRBERR (1u << 19)
#define SR_INCERR (1u << 21)
#define SR_OPERR (1u << 22)
#define SR_SNECCERR (1u << 25)
#define SR_DBECCERR (1u << 26)
#define CCR_ALL 0x1fef0000u // bits 16-19 and 21-28
#define RDP_SHIFT 8
#define RDP_LEVEL0 0xaau

#define UID(n) REG(0x1ff1e800u + 4u * (n))
#define FLASH_SIZE_KIB (*(volatile uint16_t *)(uintptr_t)0x1ff1e880u)

// Power control: the supply supervisor.
#define PWR_CR1 REG(0x58024800u)
#define PWR_CSR1 REG(0x58024804u)
#define PWR_CR1_PVDE (1u << 4)
#define PWR_CR1_PLS_SHIFT 5
#define PWR_CR1_PLS (7u << PWR_CR1_PLS_SHIFT)
#define PWR_CSR1_PVDO (1u << 4)
#define PWR_CR1_DBP (1u << 8)
// the upper byte of PWR_CR3, which may be written again and again
#define PWR_CR3_USB (*(volatile uint8_t *)(uintptr_t)0x5802480fu)
#define PWR_CR3_USB_USB33DEN 1u

#define RCC 0x58024400u
#define RCC_CR REG(RCC + 0x00u)
#define RCC_CFGR REG(RCC + 0x10u)
#define RCC_D2CCIP2R REG(RCC + 0x54u)
#define RCC_AHB4RSTR REG(RCC + 0x88u)
#define RCC_RSR REG(RCC + 0xd0u)
#define RCC_AHB1ENR REG(RCC + 0xd8u)
#define RCC_AHB4ENR REG(RCC + 0xe0u)
#define RCC_APB1HENR REG(RCC + 0xecu)
#define RCC_APB4ENR REG(RCC + 0xf4u)
#define RCC_AHB1LPENR REG(RCC + 0x100u)
#define RCC_CR_HSION (1u << 0)
#define RCC_CR_HSIDIV (3u << 3)
#define RCC_CR_HSIRDY (1u << 2)
#define RCC_CFGR_SWS (7u << 3)
#define RCC_CR_HSI48ON (1u << 12)
#define RCC_CR_HSI48RDY (1u << 13)
#define RSR_RMVF (1u << 16)
#define RSR_BOR (1u << 21)
#define RSR_PIN (1u << 22)
#define RSR_POR (1u << 23)
#define RSR_SFT (1u << 24)
#define RSR_IWDG (1u << 26)
#define RSR_WWDG (1u << 28)
#define RSR_LPWR (1u << 30)

#define IWDG_KR REG(0x58004800u)
#define IWDG_PR REG(0x58004804u)
#define IWDG_RLR REG(0x58004808u)
#define IWDG_FEED 0xaaaau
#define IWDG_UNLOCK 0x5555u
#define IWDG_START 0xccccu

#define GPIO(port) (0x58020000u + 0x400u * (port))
#define GPIO_MODER 0x00u
#define GPIO_OSPEEDR 0x08u
#define GPIO_PUPDR 0x0cu
#define GPIO_IDR 0x10u
#define GPIO_ODR 0x14u
#define GPIO_BSRR 0x18u
#define GPIO_AFRH 0x24u

// Cortex-M7.
#define SYST_CSR REG(0xe000e010u)
#define SYST_RVR REG(0xe000e014u)
#define SYST_CVR REG(0xe000e018u)
#define SYST_CORE_CLOCK 5u // on, without its interrupt
#define SYST_PASSED (1u << 16)
#define NVIC_ICER(n) REG(0xe000e180u + 4u * (n))
#define NVIC_ICPR(n) REG(0xe000e280u + 4u * (n))
#define SCB_ICSR REG(0xe000ed04u)
#define SCB_VTOR REG(0xe000ed08u)
#define SCB_AIRCR REG(0xe000ed0cu)
#define SCB_CCR REG(0xe000ed14u)
#define SCB_SHCSR REG(0xe000ed24u)
#define SCB_CFSR REG(0xe000ed28u)
#define SCB_ICIALLU REG(0xe000ef50u)
#define MPU_CTRL REG(0xe000ed94u)
// ENABLE, and HFNMIENA: also while flash is read with FAULTMASK set
#define MPU_ON 3u
#define MPU_REGIONS 16u
#define MPU_RNR REG(0xe000ed98u)
#define MPU_RBAR REG(0xe000ed9cu)
#define RBAR_VALID (1u << 4) // the region's number is in the low bits
#define MPU_RASR REG(0xe000eda0u)
#define ICSR_PENDSTCLR (1u << 25)
#define ICSR_PENDSVCLR (1u << 27)
#define CCR_BFHFNMIGN (1u << 8)
#define CCR_IC (1u << 17)
#define CCR_RESET 0x00040200u
#define AIRCR_RESET 0x05fa0004u

// For a naked function: goes on where r1 says and does not come back, on a fresh
// stack and in thread mode, also out of a handler: at a handler's priority no
// interrupt would reach the application, and none would end a sleep. The frame
// that exception return takes is made up: where to go on, and the Thumb bit.
#define GO_ON_IN_THREAD_MODE \
    "ldr r0, =stack_top\n\t" \
    "msr msp, r0\n\t" \
    "isb\n\t" \
    "mrs r2, ipsr\n\t" \
    "cbz r2, 1f\n\t" \
    "ldr r2, =0xe000ed14\n\t" \
    "ldr r3, [r2]\n\t" \
    "orr r3, r3, #1\n\t" /* CCR.NONBASETHRDENA: out of nested handlers too */ \
    "str r3, [r2]\n\t" \
    "dsb\n\t" \
    "bic r1, r1, #1\n\t" \
    "mov r2, #0x01000000\n\t" \
    "push {r1, r2}\n\t" \
    "sub sp, sp, #24\n\t" \
    "mvn r1, #6\n" /* EXC_RETURN 0xfffffff9: thread mode, main stack */ \
    "1:\n\t" \
    "bx r1\n\t" \
    ".ltorg"

__attribute__((always_inline)) static inline void
barrier(void)
{
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

#endif
