// otg_fs.c
//
// The USB controller of the STM32H743 on PA11 and PA12 (RM0433 chapter 57):
// full-speed device, endpoint 0, polled, in ITCM. Promises: every wait is
// bounded; at most one packet is moved in a call; whatever the host does, the
// next SETUP starts afresh; never more bytes are taken than were announced.

#include "usb.h"

#include "h743.h"

#define READY_POLLS 0x00040000u // 25 ms and more

#define OTG 0x40080000u
#define GOTGCTL REG(OTG + 0x000u)
#define GAHBCFG REG(OTG + 0x008u)
#define GUSBCFG REG(OTG + 0x00cu)
#define GRSTCTL REG(OTG + 0x010u)
#define GINTSTS REG(OTG + 0x014u)
#define GINTMSK REG(OTG + 0x018u)
#define GRXSTSP REG(OTG + 0x020u)
#define GRXFSIZ REG(OTG + 0x024u)
#define DIEPTXF0 REG(OTG + 0x028u)
#define GCCFG REG(OTG + 0x038u)
#define DCFG REG(OTG + 0x800u)
#define DCTL REG(OTG + 0x804u)
#define DIEPCTL0 REG(OTG + 0x900u)
#define DIEPINT0 REG(OTG + 0x908u)
#define DIEPTSIZ0 REG(OTG + 0x910u)
#define DTXFSTS0 REG(OTG + 0x918u)
#define DOEPCTL0 REG(OTG + 0xb00u)
#define DOEPINT0 REG(OTG + 0xb08u)
#define DOEPTSIZ0 REG(OTG + 0xb10u)
#define PCGCCTL REG(OTG + 0xe00u)
#define FIFO0 REG(OTG + 0x1000u)

#define B_SESSION_VALID (1u << 6 | 1u << 7)
#define GUSBCFG_PHYSEL (1u << 6)
#define GUSBCFG_TRDT (6u << 10) // AHB above 32 MHz
#define GUSBCFG_FDMOD (1u << 30)
#define GRSTCTL_CSRST (1u << 0)
#define GRSTCTL_RXFFLSH (1u << 4)
#define GRSTCTL_TXFFLSH (1u << 5)
#define GRSTCTL_TXF_ALL (0x10u << 6)
#define GRSTCTL_TXF_0 (0u << 6)
#define GRSTCTL_AHBIDL (1u << 31)
#define GINT_CMOD (1u << 0)
#define GINT_RXFLVL (1u << 4)
#define GINT_USBRST (1u << 12)
#define GINT_ENUMDNE (1u << 13)
#define GCCFG_PWRDWN (1u << 16) // 1: the transceiver has power
#define DCFG_FULL_SPEED 3u
#define DCFG_DAD_SHIFT 4
#define DCFG_DAD (0x7fu << DCFG_DAD_SHIFT)
#define DCTL_SDIS (1u << 1)
#define DCTL_CGINAK (1u << 8)
#define EP_STALL (1u << 21)
#define EP_CNAK (1u << 26)
#define EP_SNAK (1u << 27)
#define EP_EPDIS (1u << 30)
#define EP_EPENA (1u << 31)
#define EPINT_XFRC (1u << 0)
#define EPINT_EPDISD (1u << 1)
#define EPINT_STUP (1u << 3)
#define EPINT_ALL 0xffffu
#define SIZ_ONE_PACKET (1u << 19)
#define SIZ_THREE_SETUPS (3u << 29)

// In words, of 1024.
#define RX_WORDS 128u
#define TX_WORDS 64u

#define RECEIVED_OUT 2u
#define RECEIVED_SETUP 6u

#define HSI48_CRS_CLOCK (1u << 1)
#define CRS_CR REG(0x40008400u)
#define CRS_CFGR REG(0x40008404u)
#define CRS_TRIM 0x2000u
#define CRS_AUTOTRIM (1u << 6)
#define CRS_CEN (1u << 5)
#define CRS_FROM_USB2_SOF 0x3022bb7fu // 48 MHz / 1 kHz - 1, limit 0x22
#define USBSEL_HSI48 (3u << 20)
#define GPIOA_CLOCK (1u << 0)
#define USB2_CLOCK (1u << 27)
#define USB2_ULPI_LP_CLOCK (1u << 28)

enum phase {
    PHASE_IDLE,
    PHASE_OUT_DATA,
    PHASE_IN_DATA,
    PHASE_OUT_STATUS,
    PHASE_IN_STATUS,
};

static struct {
    enum phase phase;
    struct usb_setup setup;
    uint32_t setup_words[2]; // as they come in
    uint8_t *to;             // host to device
    uint32_t received;
    uint32_t packet; // bytes of the newest one
    const uint8_t *from; // device to host
    uint32_t left;
    uint32_t ends_short; // YES: a packet below 64 bytes tells the end
} ep0;

// --- bringing it up --------------------------------------------------------

static uint32_t
wait_for(volatile uint32_t *what, uint32_t mask, uint32_t value)
{
    for (uint32_t i = 0; i < READY_POLLS; i++) {
        if ((*what & mask) == value) {
            return YES;
        }
        IWDG_KR = IWDG_FEED;
    }
    return NO;
}

static uint32_t
clock_from_hsi48(void)
{
    RCC_CR |= RCC_CR_HSI48ON;
    if (wait_for(&RCC_CR, RCC_CR_HSI48RDY, RCC_CR_HSI48RDY) != YES) {
        return NO;
    }
    RCC_D2CCIP2R |= USBSEL_HSI48;
    RCC_APB1HENR |= HSI48_CRS_CLOCK;
    (void)RCC_APB1HENR;
    // by itself it is good for 1 %, USB wants 0.25 %
    CRS_CFGR = CRS_FROM_USB2_SOF;
    CRS_CR = CRS_TRIM | CRS_AUTOTRIM | CRS_CEN;
    return YES;
}

// PA11, PA12: alternate function 10, fast, no pull.
static void
connect_pins(void)
{
    const uint32_t gpio = GPIO(0);
    RCC_AHB4ENR |= GPIOA_CLOCK;
    (void)RCC_AHB4ENR;
    REG(gpio + GPIO_PUPDR) &= ~(0xfu << 22);
    REG(gpio + GPIO_OSPEEDR) |= 0xfu << 22;
    REG(gpio + GPIO_AFRH) =
        (REG(gpio + GPIO_AFRH) & ~(0xffu << 12)) | 0xaau << 12;
    REG(gpio + GPIO_MODER) =
        (REG(gpio + GPIO_MODER) & ~(0xfu << 22)) | 0xau << 22;
}

static uint32_t
flush(uint32_t which)
{
    GRSTCTL = which;
    return wait_for(&GRSTCTL, GRSTCTL_RXFFLSH | GRSTCTL_TXFFLSH, 0);
}

static uint32_t
reset_core(void)
{
    RCC_AHB1ENR |= USB2_CLOCK;
    (void)RCC_AHB1ENR;
    RCC_AHB1LPENR &= ~USB2_ULPI_LP_CLOCK;
    if (wait_for(&GRSTCTL, GRSTCTL_AHBIDL, GRSTCTL_AHBIDL) != YES) {
        return NO;
    }
    GUSBCFG |= GUSBCFG_PHYSEL;
    GRSTCTL = GRSTCTL_CSRST;
    if (wait_for(&GRSTCTL, GRSTCTL_CSRST, 0) != YES) {
        return NO;
    }
    return wait_for(&GRSTCTL, GRSTCTL_AHBIDL, GRSTCTL_AHBIDL);
}

static uint32_t
become_device(void)
{
    DCTL |= DCTL_SDIS;
    GUSBCFG = GUSBCFG_PHYSEL | GUSBCFG_TRDT | GUSBCFG_FDMOD;
    GCCFG = GCCFG_PWRDWN; // and no sensing of VBUS: that pin is the product's
    GOTGCTL |= B_SESSION_VALID;
    if (wait_for(&GINTSTS, GINT_CMOD, 0) != YES) {
        return NO;
    }
    PCGCCTL = 0;
    DCFG = DCFG_FULL_SPEED;
    GAHBCFG = 0;
    GINTMSK = 0;
    GRXFSIZ = RX_WORDS;
    DIEPTXF0 = TX_WORDS << 16 | RX_WORDS;
    if (flush(GRSTCTL_TXFFLSH | GRSTCTL_TXF_ALL) != YES) {
        return NO;
    }
    return flush(GRSTCTL_RXFFLSH);
}

int
usb_open(void)
{
    PWR_CR3_USB |= PWR_CR3_USB_USB33DEN;
    if (clock_from_hsi48() != YES) {
        return -1;
    }
    connect_pins();
    if (reset_core() != YES || become_device() != YES) {
        return -1;
    }
    ep0.phase = PHASE_IDLE;
    GINTSTS = 0xffffffffu;
    DCTL &= ~DCTL_SDIS;
    return 0;
}

void
usb_close(void)
{
    DCTL |= DCTL_SDIS;
}

void
usb_set_address(uint32_t address)
{
    // the core goes on answering to the old one until the status stage is over
    DCFG = (DCFG & ~DCFG_DAD) | address << DCFG_DAD_SHIFT;
}

// --- sending ---------------------------------------------------------------

static void
send_packet(void)
{
    const uint32_t size = min_u32(ep0.left, USB_PACKET);
    DIEPTSIZ0 = SIZ_ONE_PACKET | size;
    DIEPCTL0 |= EP_EPENA | EP_CNAK;
    for (uint32_t at = 0; at < size; at += 4) {
        uint32_t word = 0;
        for (uint32_t i = 0; i < 4 && at + i < size; i++) {
            word |= (uint32_t)ep0.from[at + i] << 8 * i;
        }
        FIFO0 = word; // it was empty, and one packet is a quarter of it
    }
    ep0.from += size;
    ep0.left -= size;
    if (size < USB_PACKET) {
        ep0.ends_short = NO;
    }
}

static void
send_status(void)
{
    ep0.phase = PHASE_IN_STATUS;
    ep0.left = 0;
    send_packet();
}

// A packet that the host never fetched must not answer its next question.
static void
cancel_sending(void)
{
    if (DIEPCTL0 & EP_EPENA) {
        DIEPCTL0 |= EP_SNAK | EP_EPDIS;
        (void)wait_for(&DIEPINT0, EPINT_EPDISD, EPINT_EPDISD);
    }
    DIEPINT0 = EPINT_ALL;
    (void)flush(GRSTCTL_TXFFLSH | GRSTCTL_TXF_0);
}

static void
stall(void)
{
    ep0.phase = PHASE_IDLE;
    DIEPCTL0 |= EP_STALL;
    DOEPCTL0 |= EP_STALL; // both end with the next SETUP
}

static void
end_transfer(void)
{
    ep0.phase = PHASE_IDLE;
    device_done(&ep0.setup);
}

static void
sent(void)
{
    if (ep0.phase == PHASE_IN_STATUS) {
        end_transfer();
    } else if (ep0.phase == PHASE_IN_DATA) {
        if (ep0.left || ep0.ends_short == YES) {
            send_packet();
        } else {
            ep0.phase = PHASE_OUT_STATUS;
        }
    }
}

// --- receiving -------------------------------------------------------------

static void
listen_for_setup(void)
{
    DOEPTSIZ0 = SIZ_THREE_SETUPS | SIZ_ONE_PACKET | USB_PACKET;
}

static void
receive_packet(void)
{
    ep0.packet = 0;
    listen_for_setup();
    DOEPCTL0 |= EP_EPENA | EP_CNAK;
}

// Empties the FIFO of `count` bytes; only the first `room` are kept.
static void
drain(uint8_t *to, uint32_t count, uint32_t room)
{
    for (uint32_t at = 0; at < count; at += 4) {
        uint32_t word = FIFO0;
        for (uint32_t i = at; i < at + 4 && i < count; i++, word >>= 8) {
            if (i < room) {
                to[i] = (uint8_t)word;
            }
        }
    }
}

static void
take_entry(void)
{
    const uint32_t entry = GRXSTSP;
    const uint32_t kind = entry >> 17 & 0xfu;
    const uint32_t count = entry >> 4 & 0x7ffu;
    if (kind == RECEIVED_SETUP) {
        drain((uint8_t *)ep0.setup_words, count, sizeof ep0.setup_words);
    } else if (kind == RECEIVED_OUT) {
        const uint32_t room = ep0.phase == PHASE_OUT_DATA
                                  ? ep0.setup.length - ep0.received
                                  : 0;
        drain(ep0.to + ep0.received, count, room);
        ep0.packet = count;
    }
}

static void
take_data(void)
{
    const uint32_t wanted = ep0.setup.length - ep0.received;
    if (ep0.packet > wanted ||
        (ep0.packet < wanted && ep0.packet < USB_PACKET)) {
        stall();
        return;
    }
    ep0.received += ep0.packet;
    if (ep0.received < ep0.setup.length) {
        receive_packet();
    } else if (device_take(&ep0.setup) == 0) {
        send_status();
    } else {
        stall();
    }
}

static void
received(void)
{
    if (ep0.phase == PHASE_OUT_DATA) {
        take_data();
    } else if (ep0.phase == PHASE_IN_DATA || ep0.phase == PHASE_OUT_STATUS) {
        if (ep0.phase == PHASE_IN_DATA) {
            cancel_sending(); // the host has enough
        }
        end_transfer();
    }
}

// --- a transfer begins -----------------------------------------------------

static void
begin_in(void)
{
    const int size = device_in(&ep0.setup, &ep0.from);
    if (size < 0) {
        stall();
        return;
    }
    ep0.left = min_u32((uint32_t)size, ep0.setup.length);
    ep0.ends_short = ep0.left < ep0.setup.length ? YES : NO;
    ep0.phase = PHASE_IN_DATA;
    receive_packet(); // the status stage, which may come early
    send_packet();
}

static void
begin_out(void)
{
    ep0.to = device_out(&ep0.setup);
    if (!ep0.to) {
        stall();
        return;
    }
    ep0.received = 0;
    ep0.phase = PHASE_OUT_DATA;
    receive_packet();
}

static void
begin_transfer(void)
{
    cancel_sending();
    listen_for_setup();
    ep0.phase = PHASE_IDLE;
    ep0.setup.type = (uint8_t)ep0.setup_words[0];
    ep0.setup.request = (uint8_t)(ep0.setup_words[0] >> 8);
    ep0.setup.value = (uint16_t)(ep0.setup_words[0] >> 16);
    ep0.setup.index = (uint16_t)ep0.setup_words[1];
    ep0.setup.length = (uint16_t)(ep0.setup_words[1] >> 16);
    if (ep0.setup.length == 0) {
        if (device_take(&ep0.setup) == 0) {
            send_status();
        } else {
            stall();
        }
    } else if (ep0.setup.type & USB_IN) {
        begin_in();
    } else {
        begin_out();
    }
}

// --- events ----------------------------------------------------------------

static void
take_reset(void)
{
    DCFG &= ~DCFG_DAD;
    DOEPCTL0 |= EP_SNAK;
    cancel_sending();
    (void)flush(GRSTCTL_RXFFLSH);
    DOEPINT0 = EPINT_ALL;
    ep0.phase = PHASE_IDLE;
    listen_for_setup();
    device_reset();
}

static void
take_speed(void)
{
    DIEPCTL0 &= ~3u; // packets of 64 bytes
    DCTL |= DCTL_CGINAK;
}

void
usb_poll(void)
{
    const uint32_t events = GINTSTS;
    if (events & GINT_USBRST) {
        GINTSTS = GINT_USBRST;
        take_reset();
        return;
    }
    if (events & GINT_ENUMDNE) {
        GINTSTS = GINT_ENUMDNE;
        take_speed();
    }
    if (events & GINT_RXFLVL) {
        take_entry();
    }
    const uint32_t in = DIEPINT0;
    if (in & EPINT_XFRC) {
        DIEPINT0 = EPINT_XFRC;
        sent();
    }
    const uint32_t out = DOEPINT0;
    DOEPINT0 = out;
    if (out & EPINT_XFRC) {
        received();
    }
    if (out & EPINT_STUP) {
        begin_transfer();
    }
}
