// What the small programs of these tests share: registers, start, a UART, a flash driver.
#include <stdint.h>

#define REG(a) (*(volatile uint32_t *)(a))
#define FLASH_KEYR(b) REG(0x52002004u + 0x100u * (b))
#define FLASH_CR(b) REG(0x5200200Cu + 0x100u * (b))
#define FLASH_SR(b) REG(0x52002010u + 0x100u * (b))
#define FLASH_CCR(b) REG(0x52002014u + 0x100u * (b))
#define SCB_VTOR REG(0xE000ED08u)
#define SCB_AIRCR REG(0xE000ED0Cu)
#define SCB_CCR REG(0xE000ED14u)
#define SCB_SHCSR REG(0xE000ED24u)
#define SCB_CFSR REG(0xE000ED28u)
#define SCB_HFSR REG(0xE000ED2Cu)
#define SCB_BFAR REG(0xE000ED38u)
#define IWDG_KR REG(0x58004800u)
#define BANK2 0x08100000u
#define ITCM __attribute__((section(".itcm"), noinline))

void reset(void);
void main(void);
void hard_fault(void);
void bus_fault(void);
void tick(void);
void svcall(void);

static inline void print(const char *s)
{
    while (*s) {
        REG(0x40011028u) = (uint32_t)*s++;
    }
}

static inline void print_hex(uint32_t v)
{
    for (int i = 28; i >= 0; i -= 4) {
        REG(0x40011028u) = (uint32_t)"0123456789abcdef"[v >> i & 15];
    }
    print("\n");
}

static inline void unlock(int b)
{
    FLASH_KEYR(b) = 0x45670123u;
    FLASH_KEYR(b) = 0xCDEF89ABu;
}

static inline uint32_t flash_wait(int b)
{
    while (FLASH_SR(b) & 4u) {
        IWDG_KR = 0xAAAAu;
    }
    return FLASH_SR(b);
}

static inline uint32_t program(int b, uint32_t address, const uint32_t *data)
{
    FLASH_CCR(b) = 0x1FEF0000u;
    FLASH_CR(b) = 0x32u;
    for (int i = 0; i < 8; i++) {
        REG(address + 4u * i) = data[i];
    }
    uint32_t sr = flash_wait(b);
    FLASH_CR(b) = 0x30u;
    return sr;
}

static inline uint32_t erase(int b, uint32_t sector)
{
    FLASH_CCR(b) = 0x1FEF0000u;
    FLASH_CR(b) = 0x34u | sector << 8;
    FLASH_CR(b) = 0xB4u | sector << 8;
    uint32_t sr = flash_wait(b);
    FLASH_CR(b) = 0x30u;
    return sr;
}

static inline void jump(uint32_t vectors_at)
{
    SCB_VTOR = vectors_at;
    uint32_t sp = REG(vectors_at), pc = REG(vectors_at + 4u);
    __asm volatile("msr msp, %0\n bx %1" ::"r"(sp), "r"(pc) : "memory");
    __builtin_unreachable();
}
