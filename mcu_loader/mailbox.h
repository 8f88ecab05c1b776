// mailbox.h
//
// What an application tells the loader across a reset: two backup registers of
// the RTC, which the layout chooses.

#ifndef SPLITFLASH_MAILBOX_H
#define SPLITFLASH_MAILBOX_H

#include "h743.h"
#include "loader.h"

#define MAILBOX_POLLS 0x1000u
#define RTC_CLOCK (1u << 16)

#define MAILBOX_REQUEST REG(info_block.mailbox)
#define MAILBOX_HEALTH REG(info_block.mailbox + 4u)

// Backup registers take what is written only between these two.
static inline void
mailbox_open(void)
{
    RCC_APB4ENR |= RTC_CLOCK;
    PWR_CR1 |= PWR_CR1_DBP;
    for (uint32_t i = 0; i < MAILBOX_POLLS && !(PWR_CR1 & PWR_CR1_DBP); i++) {
    }
}

static inline void
mailbox_close(void)
{
    PWR_CR1 &= ~PWR_CR1_DBP;
}

// YES, once, if the application asked for the door.
static inline uint32_t
mailbox_take_request(void)
{
    if (MAILBOX_REQUEST != MAILBOX_ENTER_DFU) {
        return NO;
    }
    MAILBOX_REQUEST = 0;
    return YES;
}

#endif
