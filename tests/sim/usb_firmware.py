"""A USB device of its own, independent of the loader: bring-up and endpoint 0, in one page of C.

It answers GET_DESCRIPTOR and SET_ADDRESS, and has four requests of its own: 0x10 IN returns a
pattern, 0x11 OUT stores data, 0x12 IN returns it, 0x13 OUT resets the chip. Each step of the
bring-up can be left out by name.
"""

from __future__ import annotations

STEPS = {
    "usb33den": "REG(0x5802480Cu) |= 1u << 24;",
    "hsi48": "REG(0x58024400u) |= 1u << 12;",
    "hsi48rdy": "while (!(REG(0x58024400u) & 1u << 13)) {}",
    "usbsel": "REG(0x58024454u) |= 3u << 20;",
    "crsen": "REG(0x580244ECu) |= 1u << 1;",
    "crs_source": "REG(0x40008404u) = 3u << 28 | 0x22u << 16 | 0xBB7Fu;",
    "crs_on": "REG(0x40008400u) |= 0x60u;",
    "otg_clock": "REG(0x580244D8u) |= 1u << 27;",
    "gpio_clock": "REG(0x580244E0u) |= 1u;",
    "pins": "REG(0x58020000u) = (REG(0x58020000u) & ~(0xFu << 22)) | 0xAu << 22;",
    "pin_speed": "REG(0x58020008u) |= 0xFu << 22;",
    "af10": "REG(0x58020024u) = (REG(0x58020024u) & ~(0xFFu << 12)) | 0xAAu << 12;",
    "ahb_idle": "while (!(G(0x10) & 1u << 31)) {}",
    "core_reset": "G(0x10) |= 1u;",
    "core_reset_wait": "while (G(0x10) & 1u) {}",
    "trdt": "G(0x0C) = (G(0x0C) & ~(0xFu << 10)) | 6u << 10;",
    "fdmod": "G(0x0C) |= 1u << 30;",
    "device_mode": "while (G(0x14) & 1u) {}",
    "session": "G(0x00) |= 3u << 6;",
    "pwrdwn": "G(0x38) = 1u << 16;",
    "ungate": "G(0xE00) = 0;",
    "speed": "G(0x800) |= 3u;",
    "rx_size": "G(0x24) = 64u;",
    "tx_size": "G(0x28) = 64u << 16 | 64u;",
    "flush": "G(0x10) = 1u << 5 | 0x10u << 6; G(0x10) = 1u << 4; while (G(0x10) & 0x30u) {}",
    "connect": "G(0x804) &= ~2u;",
}

_CODE = r"""
#define G(o) REG(0x40080000u + (o))
#define EPENA (1u << 31)
#define CNAK (1u << 26)
#define SNAK (1u << 27)
#define EPDIS (1u << 30)
#define STALL (1u << 21)

static const uint8_t device[18] = {
    18, 1, 0, 2, 0xFF, 0, 0, 64, 0xAD, 0xDE, 0xEF, 0xBE, 0, 1, 0, 0, 0, 1
};
static const uint8_t config[18] = {
    9, 2, 18, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 0xFF, 0, 0, 0
};
static uint8_t buffer[1024];
static uint32_t setup[2];
static const uint8_t *out_of;
static uint32_t left, zlp, stored, wanted, reset_wanted;

static void arm_out(void)
{
    G(0xB10) = 3u << 29 | 1u << 19 | 64u;
    G(0xB00) |= EPENA | CNAK;
}

static void send(void)
{
    uint32_t n = left < 64u ? left : 64u;
    G(0x910) = 1u << 19 | n;
    G(0x900) |= EPENA | CNAK;
    for (uint32_t i = 0; i < n; i += 4) {
        uint32_t word = 0;
        for (uint32_t k = 0; k < 4 && i + k < n; k++) {
            word |= (uint32_t)out_of[i + k] << 8 * k;
        }
        G(0x1000) = word;
    }
    out_of += n;
    left -= n;
    if (n < 64u) {
        zlp = 0;
    }
}

static void answer(const uint8_t *from, uint32_t size)
{
    uint32_t length = setup[1] >> 16;
    out_of = from;
    left = size < length ? size : length;
    zlp = left < length && left % 64u == 0;
    arm_out(); /* for the status stage */
    send();
    zlp = zlp || left ? zlp : 0;
}

static void refuse(void)
{
    G(0x900) |= STALL;
    G(0xB00) |= STALL;
}

static void on_setup(void)
{
    uint32_t request = setup[0] & 0xFFFFu, value = setup[0] >> 16;
    left = zlp = wanted = 0;
    if (G(0x900) & EPENA) {
        G(0x900) |= EPDIS | SNAK;
        while (!(G(0x908) & 2u)) {}
        G(0x908) = 2u;
    }
    @NO_FLUSH@
    if (request == 0x0680u && value >> 8 == 1u) {
        answer(device, sizeof device);
    } else if (request == 0x0680u && value >> 8 == 2u) {
        answer(config, sizeof config);
    } else if (request == 0x0500u) {
        @DAD@
        arm_out();
        send();
        @LATE_DAD@
    } else if (request == 0x0900u) {
        arm_out();
        send();
    } else if (request == 0x10C0u) {
        for (uint32_t i = 0; i < sizeof buffer; i++) {
            buffer[i] = (uint8_t)(i * 7u + value);
        }
        answer(buffer, sizeof buffer);
    } else if (request == 0x12C0u) {
        answer(buffer, stored);
    } else if (request == 0x1140u && setup[1] >> 16 <= sizeof buffer) {
        stored = 0;
        wanted = setup[1] >> 16;
        arm_out();
        if (!wanted) {
            send();
        }
    } else if (request == 0x1340u) {
        reset_wanted = 1;
        arm_out();
        send();
    } else {
        arm_out();
        refuse();
    }
}

static void receive(void)
{
    uint32_t status = G(0x20), size = status >> 4 & 0x7FFu, kind = status >> 17 & 15u;
    for (uint32_t i = 0; i < size; i += 4) {
        uint32_t word = G(0x1000);
        if (kind == 6u) {
            setup[i / 4] = word;
        } else {
            for (uint32_t k = 0; k < 4 && i + k < size; k++) {
                if (stored < sizeof buffer) {
                    buffer[stored++] = (uint8_t)(word >> 8 * k);
                }
            }
        }
    }
}

static void poll(void)
{
    uint32_t status = G(0x14);
    if (status & 1u << 12) {
        G(0x14) = 1u << 12;
        @FORGET_DAD@
        G(0x10) = 1u << 5;
        G(0xB10) = 3u << 29;
    }
    if (status & 1u << 13) {
        G(0x14) = 1u << 13;
        G(0x900) &= ~3u;
        arm_out();
    }
    if (status & 1u << 4) {
        receive();
    }
    uint32_t out = G(0xB08);
    if (out) {
        G(0xB08) = out;
        if (out & 8u) {
            on_setup();
        } else if (out & 1u && wanted) {
            if (stored >= wanted) {
                wanted = 0;
                send(); /* the status stage */
            }
            arm_out();
        }
    }
    uint32_t in = G(0x908);
    if (in & 1u) {
        G(0x908) = 1u;
        if (left || zlp) {
            send();
        } else if (reset_wanted) {
            SCB_AIRCR = 0x05FA0004u;
        }
    }
}

void main(void)
{
    left = zlp = stored = wanted = reset_wanted = 0;
    print("up\n");
    @START@
    @BRING_UP@
    for (;;) {
        poll();
        @IN_LOOP@
    }
}
"""


def source(
    *without: str,
    instead: dict[str, str] | None = None,
    in_loop: str = "",
    start: str = "",
    **changes: str,
) -> str:
    """Return the program without some steps of :data:`STEPS`, others done otherwise."""
    steps = {name: text for name, text in STEPS.items() if name not in without}
    assert len(steps) == len(STEPS) - len(without), without
    steps.update(instead or {})
    parts = {
        "BRING_UP": "\n    ".join(steps.values()),
        "IN_LOOP": in_loop,
        "START": start,
        "DAD": "G(0x800) = (G(0x800) & ~0x7F0u) | (value & 0x7Fu) << 4;",
        "LATE_DAD": "",
        "FORGET_DAD": "G(0x800) &= ~0x7F0u;",
        "NO_FLUSH": "G(0x10) = 1u << 5;",
        **changes,
    }
    text = _CODE
    for name, code in parts.items():
        text = text.replace(f"@{name}@", code)
    return text
