"""Why a device is not on the bus: every condition for it, from power to pull-up, as a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from packager.sim import otg
from packager.sim.otg import Otg

RCC, PWR, GPIOA, CRS = 0x5802_4400, 0x5802_4800, 0x5802_0000, 0x4000_8400
RCC_CR, RCC_D2CCIP2R, RCC_AHB1ENR, RCC_AHB4ENR, RCC_APB1HENR = (
    RCC + at for at in (0x00, 0x54, 0xD8, 0xE0, 0xEC)
)
PWR_CR3 = PWR + 0x0C
_HSI48, _PLL_CHOICES = 3, {0: "nothing", 1: "PLL1Q", 2: "PLL3Q"}
_CRS_RELOAD = 0xBB7F
_LEAST_TRDT = 6
_BITS_11_12 = 0xF << 22

Read = Callable[[int], int]
"""Reads a register of the chip without any effect."""


def missing(controller: Otg, read: Read) -> list[str]:
    """Return what keeps the device off the bus, in the order of the bring-up."""
    if not controller.is_touched:
        return []
    return [*_power(read), *_clock(read), *_pins(read), *_core(controller), *controller.mistakes]


def has_48_mhz(read: Read) -> bool:
    """Tell whether the controller is clocked as a USB device must be."""
    return not any(_clock(read))


def _power(read: Read) -> Iterator[str]:
    if not read(PWR_CR3) >> 24 & 3:
        yield "PWR_CR3.USB33DEN is 0: the USB supply is not switched to the transceiver"


def _clock(read: Read) -> Iterator[str]:
    if not read(RCC_AHB1ENR) >> 27 & 1:
        yield "RCC_AHB1ENR.USB2OTGFSEN is 0: OTG_FS has no bus clock"
    if not read(RCC_CR) >> 12 & 1:
        yield "RCC_CR.HSI48ON is 0: there are no 48 MHz"
    elif not read(RCC_CR) >> 13 & 1:
        yield "RCC_CR.HSI48RDY is 0: the 48 MHz oscillator was not waited for"
    source = read(RCC_D2CCIP2R) >> 20 & 3
    if source != _HSI48:
        yield f"RCC_D2CCIP2R.USBSEL selects {_PLL_CHOICES[source]}, not HSI48 (3)"


def _trimming(read: Read) -> Iterator[str]:
    control, configuration = read(CRS), read(CRS + 4)
    if not read(RCC_APB1HENR) >> 1 & 1:
        yield "RCC_APB1HENR.CRSEN is 0: nothing trims HSI48, which alone is too inexact"
    elif control >> 5 & 3 != 3:
        yield "CRS_CR.AUTOTRIMEN and CEN are not both 1: nothing trims HSI48"
    elif configuration >> 28 & 3 != 3:
        yield "CRS_CFGR.SYNCSRC is not 3: HSI48 is not trimmed by this port's start of frame"
    elif configuration & 0xFFFF != _CRS_RELOAD or configuration >> 24 & 7:
        yield "CRS_CFGR.RELOAD or SYNCDIV do not fit 48 MHz and a start of frame every 1 ms"


def _pins(read: Read) -> Iterator[str]:
    yield from _trimming(read)
    if not read(RCC_AHB4ENR) & 1:
        yield "RCC_AHB4ENR.GPIOAEN is 0: the pins PA11 and PA12 cannot be set up"
    if read(GPIOA) & _BITS_11_12 != 0xA << 22:
        yield "GPIOA_MODER: PA11 and PA12 are not alternate functions"
    if read(GPIOA + 0x24) >> 12 & 0xFF != 0xAA:
        yield "GPIOA_AFRH: PA11 and PA12 are not AF10"
    if read(GPIOA + 0x0C) & _BITS_11_12:
        yield "GPIOA_PUPDR: PA11 or PA12 has a pull"
    speeds = read(GPIOA + 0x08) >> 22
    if speeds & 3 < 2 or speeds >> 2 & 3 < 2:
        yield "GPIOA_OSPEEDR: PA11 or PA12 is not fast"


def _core(controller: Otg) -> Iterator[str]:
    stored = controller.stored
    if not controller.is_reset:
        yield "GRSTCTL.CSRST: the core was not reset, or the reset was not waited for"
    if stored(otg.GUSBCFG) >> 10 & 0xF < _LEAST_TRDT:
        yield "GUSBCFG.TRDT is less than 6, what a bus clock of 32 MHz and more needs"
    if not stored(otg.GUSBCFG) & otg.FDMOD:
        yield "GUSBCFG.FDMOD is 0: device mode is not forced"
    if not stored(otg.GCCFG) >> 16 & 1:
        yield "GCCFG.PWRDWN is 0: the transceiver is off"
    if stored(otg.GCCFG) >> 21 & 1:
        yield "GCCFG.VBDEN is 1: it waits for VBUS at PA9, which a board need not connect"
    elif stored(otg.GOTGCTL) >> 6 & 3 != 3:
        yield "GOTGCTL.BVALOEN and BVALOVAL are not both 1: no B session"
    if stored(otg.PCGCCTL) & 3:
        yield "PCGCCTL is not 0: the clocks of the core are gated"
    if stored(otg.DCFG) & 3 != 3:
        yield "DCFG.DSPD is not 3: not full speed on the internal transceiver"
    yield from _fifos(controller)
    if not controller.pulls_up:
        yield "DCTL.SDIS is 1: soft disconnect"


def _fifos(controller: Otg) -> Iterator[str]:
    sizes = controller.sizes_set
    if otg.GRXFSIZ not in sizes or otg.DIEPTXF0 not in sizes:
        yield "GRXFSIZ and DIEPTXF0 were not both set: the FIFOs have no sizes"
        return
    receive = controller.stored(otg.GRXFSIZ) & 0xFFFF
    transmit = controller.stored(otg.DIEPTXF0)
    start, depth = transmit & 0xFFFF, transmit >> 16
    if receive < otg.LEAST_RX_WORDS:
        yield f"GRXFSIZ is {receive} words, endpoint 0 needs {otg.LEAST_RX_WORDS}"
    if depth < otg.LEAST_TX_WORDS:
        yield f"DIEPTXF0 is {depth} words, endpoint 0 needs {otg.LEAST_TX_WORDS}"
    if start < receive:
        yield f"DIEPTXF0 starts at word {start}, inside the {receive} words of GRXFSIZ"
    if start + depth > otg.FIFO_WORDS:
        yield f"DIEPTXF0 ends at word {start + depth} of {otg.FIFO_WORDS}"
    for name in ("rx", "tx"):
        if name not in controller.flushed:
            yield f"the {name} FIFO was not flushed (GRSTCTL) after the sizes were set"
