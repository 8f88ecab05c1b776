"""OTG_FS as a program sees it: the DWC2 core in device mode, endpoint 0, polled (RM0433 57).

Registers, the shared FIFO RAM and endpoint 0, no more and no interrupts to the core. What happens
on the wire is done to it by ``wire``, at moments when the program reads a register here. Strict: a
step of the bring-up that is left out or not waited for is noted, and :meth:`Otg.mistakes` keeps the
device off the bus (``otg_bringup`` adds what lies outside this peripheral).

As on the chip: a SETUP packet is taken whatever the endpoint is doing, answers NAK from then on,
ends a STALL, and leaves in the transmit FIFO what an older transfer put there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from packager.errors import SimulationFault
from packager.sim.clock import Clock

BASE, SIZE = 0x4008_0000, 0x1_0000
GOTGCTL, GAHBCFG, GUSBCFG, GRSTCTL, GINTSTS, GINTMSK = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x18
GRXSTSR, GRXSTSP, GRXFSIZ, DIEPTXF0, HNPTXSTS, GCCFG, CID = 0x1C, 0x20, 0x24, 0x28, 0x2C, 0x38, 0x3C
DEVICE = 0x800
DCFG, DCTL, DSTS, DIEPMSK, DOEPMSK, DAINT, DAINTMSK = (
    *(0x800, 0x804, 0x808, 0x810, 0x814),
    *(0x818, 0x81C),
)
DIEPCTL0, DIEPINT0, DIEPTSIZ0, DTXFSTS0 = 0x900, 0x908, 0x910, 0x918
DOEPCTL0, DOEPINT0, DOEPTSIZ0 = 0xB00, 0xB08, 0xB10
PCGCCTL, FIFO0, FIFOS_END = 0xE00, 0x1000, 0x2000
FIFO_WORDS = 1024
"""RAM shared by the FIFOs: 4 KiB."""
LEAST_RX_WORDS = 33
"""5 for each control endpoint + 8, a packet of 64 bytes + 1, 2 for each OUT endpoint, 1 for NAK."""
LEAST_TX_WORDS = 16
DEVICE_MODE_SECONDS = 25e-3
"""From GUSBCFG.FDMOD until the core is in device mode."""
_RESET_SECONDS = 1e-6
_IDLE_AFTER_READS = 2

CSRST, RXFFLSH, TXFFLSH, AHBIDL = 1 << 0, 1 << 4, 1 << 5, 1 << 31
FDMOD = 1 << 30
SDIS = 1 << 1
_XFRC, _EPDISD, _STUP, _ITTXFE, _INEPNE, _TXFE = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 6, 1 << 7
_NAKSTS, _STALL, _CNAK, _SNAK, _EPDIS, _EPENA = 1 << 17, 1 << 21, 1 << 26, 1 << 27, 1 << 30, 1 << 31
_MPSIZ = 3
_PACKET_BYTES = (64, 32, 16, 8)
_OUT_DATA, _OUT_DONE, _SETUP_DONE, _SETUP_DATA = 2, 3, 4, 6

_NAMES = {
    GOTGCTL: "GOTGCTL",
    GAHBCFG: "GAHBCFG",
    GUSBCFG: "GUSBCFG",
    GINTMSK: "GINTMSK",
    GRXFSIZ: "GRXFSIZ",
    DIEPTXF0: "DIEPTXF0",
    DCFG: "DCFG",
    DCTL: "DCTL",
    DIEPMSK: "DIEPMSK",
    DOEPMSK: "DOEPMSK",
    DAINTMSK: "DAINTMSK",
    DIEPCTL0: "DIEPCTL0",
    DOEPCTL0: "DOEPCTL0",
    DOEPTSIZ0: "DOEPTSIZ0",
}


_AFTER_RESET = {
    GUSBCFG: 0x1440,
    GRXFSIZ: 0x200,
    DIEPTXF0: 0x0200_0200,
    CID: 0x2300,
    DCTL: SDIS,
    DOEPCTL0: 1 << 15,
    DIEPCTL0: 1 << 15,
}


class Gint:
    """Bits of GINTSTS; plain numbers, for they are looked at all the time."""

    CMOD = 1 << 0
    SOF = 1 << 3
    RXFLVL = 1 << 4
    NPTXFE = 1 << 5
    USBSUSP = 1 << 11
    USBRST = 1 << 12
    ENUMDNE = 1 << 13
    IEPINT = 1 << 18
    OEPINT = 1 << 19


_CLEARABLE = 0xF000_FC0A
_SOF_SECONDS = 1e-3


class Handshake(Enum):
    """How the device answers a packet."""

    ACK = 0
    NAK = 1
    STALL = 2
    NONE = 3
    """Not at all."""


class Otg:
    """The controller; offsets count from 0x40080000."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.has_48_mhz: Callable[[], bool] = lambda: False
        """Tells whether the PHY side is clocked: without it a core reset never ends."""
        self.on_poll: Callable[[int], None] = lambda offset: None
        """Called before a register is read: the wire does what is due."""
        self.is_news = True
        """Something that a host could notice may have changed since this was last cleared."""
        self.reset()

    def reset(self) -> None:
        """Take the state after a reset of the chip or of the peripheral by RCC."""
        self.is_touched = False
        """The program tried to use it."""
        self.mistakes: list[str] = []
        """Steps of the bring-up that went wrong and are not mended by doing more."""
        self.ignored = ""
        """Why the last packet was not answered at all."""
        self._idle_reads = 0
        self._idle_seen = False
        self._reset_ends: float | None = None
        self.is_reset = False
        """A core reset was done."""
        self._forced_at: float | None = None
        self._reset_core({})
        self.is_news = True

    def _reset_core(self, kept: dict[int, int]) -> None:
        """Take the values after GRSTCTL.CSRST; ``kept`` are the registers it leaves alone."""
        self._registers: dict[int, int] = {**_AFTER_RESET, **kept}
        self._forced_at = None
        self.sizes_set: set[int] = set()
        """FIFO size registers written since the core reset."""
        self.flushed: set[str] = set()
        """FIFOs flushed since their sizes were set: ``rx``, ``tx``."""
        self._interrupts = 0
        self._enumerated = False
        self._address: int | None = None
        self._sof_at = self._clock.now
        self._in_flags = self._out_flags = 0
        self._rx: deque[tuple[int, bytes]] = deque()
        self._rx_words = 0
        self._unread = b""
        self._tx = bytearray()

    # -- for the wire -----------------------------------------------------------------------------

    @property
    def pulls_up(self) -> bool:
        """DCTL.SDIS is clear: the device wants to be seen."""
        return not self._registers[DCTL] & SDIS

    @property
    def is_forced(self) -> bool:
        """Device mode, forced and waited for."""
        return (
            self._forced_at is not None and self._clock.now >= self._forced_at + DEVICE_MODE_SECONDS
        )

    def answers_to(self, address: int) -> bool:
        """Tell whether a packet for ``address`` is taken; a new one is after a status stage."""
        own = self._registers.get(DCFG, 0) >> 4 & 0x7F if self._address is None else self._address
        if address != own:
            self.ignored = (
                f"it answers to address {own}, not {address}: DCFG.DAD is 0 after a bus reset and"
                " set before the status stage of SET_ADDRESS"
            )
        return address == own

    @property
    def has_news(self) -> bool:
        """Something happened that the program has not dealt with."""
        flags = self._interrupts & (Gint.USBRST | Gint.ENUMDNE)
        return bool(self._rx or self._unread or flags or self._out_flags or self._in_flags & _XFRC)

    def stored(self, offset: int) -> int:
        """Return a register without any effect."""
        return self._registers.get(offset, 0)

    def changed(self) -> dict[int, int]:
        """Return the registers, by offset, that a program has left otherwise than after a reset."""
        held = self._registers
        return {at: held[at] for at in held if held[at] != _AFTER_RESET.get(at, 0)}

    def mistake(self, text: str) -> None:
        """Note a step that went wrong."""
        if text not in self.mistakes:
            self.mistakes.append(text)
            self.is_news = True

    def suspend(self) -> None:
        """The bus is silent."""
        self._interrupts |= Gint.USBSUSP

    def bus_reset(self) -> None:
        """The host begins a bus reset: endpoints stop, what lies in the FIFOs stays."""
        self._interrupts |= Gint.USBRST
        self._enumerated, self._address = False, None
        for control in (DIEPCTL0, DOEPCTL0):
            value = self._registers[control] & ~(_EPENA | _STALL)
            self._registers[control] = value | _NAKSTS

    def bus_reset_ends(self) -> None:
        """The speed is known."""
        self._interrupts |= Gint.ENUMDNE
        self._enumerated = True

    def setup(self, raw: bytes) -> Handshake:
        """Take a SETUP packet."""
        if not self._enumerated:
            self.ignored = "a packet during the bus reset"
        elif not self._registers.get(DOEPTSIZ0, 0) >> 29 & 3:
            self.ignored = "DOEPTSIZ0.STUPCNT is 0"
        elif not self._room_for(raw, _SETUP_DATA, _SETUP_DONE):
            self.ignored = "the receive FIFO is full"
        else:
            self._take_setup(raw)
            return Handshake.ACK
        return Handshake.NONE

    def _take_setup(self, raw: bytes) -> None:
        self.ignored = ""
        if self._address is None:
            self._address = self._registers.get(DCFG, 0) >> 4 & 0x7F
        self._registers[DOEPTSIZ0] -= 1 << 29
        for control in (DIEPCTL0, DOEPCTL0):
            self._registers[control] = self._registers[control] & ~_STALL | _NAKSTS
        self._receive(_SETUP_DATA, raw)
        self._receive(_SETUP_DONE, b"")

    def out(self, data: bytes) -> Handshake:
        """Take an OUT packet."""
        control = self._registers[DOEPCTL0]
        if not self._enumerated:
            return Handshake.NONE
        if control & _STALL:
            return Handshake.STALL
        left = self._registers.get(DOEPTSIZ0, 0)
        if control & _NAKSTS or not control & _EPENA or not left >> 19 & 1:
            return Handshake.NAK
        if not self._room_for(data, _OUT_DATA, _OUT_DONE):
            return Handshake.NAK
        if len(data) > left & 0x7F:
            return Handshake.NONE  # babble: the core drops what does not fit
        self._registers[DOEPTSIZ0] = left & ~(1 << 19 | 0x7F) | (left & 0x7F) - len(data)
        self._registers[DOEPCTL0] = control & ~_EPENA | _NAKSTS
        self._receive(_OUT_DATA, data)
        self._receive(_OUT_DONE, b"")
        return Handshake.ACK

    def in_(self) -> bytes | Handshake:
        """Give an IN packet."""
        control, left = self._registers[DIEPCTL0], self._registers.get(DIEPTSIZ0, 0)
        if not self._enumerated:
            return Handshake.NONE
        if control & _STALL:
            return Handshake.STALL
        packets = left >> 19 & 3
        size = min(left & 0x7F, _PACKET_BYTES[control & _MPSIZ])
        if control & _NAKSTS or not control & _EPENA or not packets or len(self._tx) < size:
            self._in_flags |= 0 if self._tx else _ITTXFE
            return Handshake.NAK
        whole = size + -size % 4
        data = bytes(self._tx[:size])
        if not size:
            self._address = self._registers.get(DCFG, 0) >> 4 & 0x7F
        del self._tx[:whole]
        self._registers[DIEPTSIZ0] = packets - 1 << 19 | (left & 0x7F) - size
        if packets == 1:
            self._registers[DIEPCTL0] = control & ~_EPENA | _NAKSTS
            self._in_flags |= _XFRC
        return data

    def _room_for(self, data: bytes, *entries: int) -> bool:
        words = len(entries) + (len(data) + 3) // 4
        return self._rx_words + words <= self._registers[GRXFSIZ] & 0xFFFF

    def _receive(self, kind: int, data: bytes) -> None:
        toggle = 2 << 15 if kind == _OUT_DATA else 0
        self._rx.append((kind << 17 | toggle | len(data) << 4, data))
        self._rx_words += 1 + (len(data) + 3) // 4

    # -- reads ------------------------------------------------------------------------------------

    @staticmethod
    def pops(offset: int) -> bool:
        """Tell whether a read takes something away, so that it must not be done twice."""
        return offset == GRXSTSP or offset >= FIFO0

    def read(self, offset: int, size: int) -> int:
        """Read a register, a word only."""
        self._words_only(offset, size)
        if offset == GRXSTSP:
            return self._pop_status()
        if offset >= FIFO0:
            return self._pop_data()
        self.on_poll(offset)
        if offset == GRSTCTL:
            return self._reset_control()
        if offset == GINTSTS:
            return self._status()
        stored = self._registers.get(offset, 0)
        if offset == GRXSTSR:
            return self._rx[0][0] if self._rx else 0
        if offset == DAINT:
            return self._ends_with_news()
        if offset == DSTS:
            return 3 << 1 | (int(self._clock.now * 1000) & 0x3FFF) << 8
        if offset == DIEPINT0:
            return self._in_flags | (0 if self._tx else _TXFE)
        if offset == DOEPINT0:
            return self._out_flags
        if offset == DTXFSTS0:
            return (self._registers[DIEPTXF0] >> 16) - len(self._tx) // 4
        if offset == HNPTXSTS:
            return 8 << 16 | (self._registers[DIEPTXF0] >> 16) - len(self._tx) // 4
        return stored

    def _words_only(self, offset: int, size: int) -> None:
        if size != 4 or offset & 3:
            raise _fault(offset, f"an access of {size} bytes", "its registers are words")

    def _status(self) -> int:
        value = self._interrupts
        value |= 0 if self.is_forced else Gint.CMOD
        value |= Gint.RXFLVL if self._rx or self._unread else 0
        value |= 0 if self._tx else Gint.NPTXFE
        if self._enumerated and self._clock.now - self._sof_at >= _SOF_SECONDS:
            value |= Gint.SOF
        ends = self._ends_with_news() & self._registers.get(DAINTMSK, 0)
        value |= Gint.IEPINT if ends & 0xFFFF else 0
        value |= Gint.OEPINT if ends >> 16 else 0
        return value

    def _ends_with_news(self) -> int:
        in_flags = self._in_flags | (0 if self._tx else _TXFE)
        ends = 1 if in_flags & self._registers.get(DIEPMSK, 0) & ~_TXFE else 0
        return ends | (1 << 16 if self._out_flags & self._registers.get(DOEPMSK, 0) else 0)

    def _reset_control(self) -> int:
        if self._is_in_reset():
            return CSRST
        self._idle_reads += 1
        if self._idle_reads <= _IDLE_AFTER_READS:
            return 0
        self._idle_seen = True
        return AHBIDL

    def _is_in_reset(self) -> bool:
        if self._reset_ends is None:
            return False
        if self._clock.now < self._reset_ends or not self.has_48_mhz():
            return True
        self._finish_reset()
        return False

    def _finish_reset(self) -> None:
        kept = {at: self._registers[at] for at in (DCTL, GCCFG) if at in self._registers}
        speed = self._registers.get(DCFG, 0) & 3
        self._reset_core({**kept, DCFG: speed})
        self._reset_ends = None
        self._idle_reads = 0
        self.is_reset = True
        self.is_news = True

    def _pop_status(self) -> int:
        if self._unread:
            raise _fault(
                GRXSTSP,
                f"{len(self._unread)} bytes of the last packet are still in the receive FIFO",
                "what it takes next are not a packet's numbers; read them first",
            )
        if not self._rx:
            return 0
        status, self._unread = self._rx.popleft()
        self._rx_words -= 1
        kind = status >> 17 & 0xF
        if kind == _SETUP_DONE:
            self._out_flags |= _STUP
            self._registers[DOEPCTL0] &= ~_EPENA
        elif kind == _OUT_DONE:
            self._out_flags |= _XFRC
        return status

    def _pop_data(self) -> int:
        if not self._unread:
            raise _fault(FIFO0, "a read of the empty receive FIFO", "GRXSTSP tells how much it has")
        word, self._unread = self._unread[:4], self._unread[4:]
        self._rx_words -= 1
        return int.from_bytes(word, "little")

    # -- writes -----------------------------------------------------------------------------------

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a register, a word only."""
        self._words_only(offset, size)
        self.is_touched = True
        name = _NAMES.get(offset, f"the register at 0x{offset:03X}")
        if self._is_in_reset():
            self.mistake(f"{name} was written while GRSTCTL.CSRST was still set: lost")
            return
        if DEVICE <= offset < PCGCCTL and not self.is_forced:
            if value == self._registers.get(offset, 0):
                return
            self.mistake(
                f"{name} was written before the core was in device mode (25 ms after"
                " GUSBCFG.FDMOD, or GINTSTS.CMOD 0): lost"
            )
            return
        if offset >= FIFO0:
            self._push(value)
        elif offset == GRSTCTL:
            self._write_reset_control(value)
        elif offset == GINTSTS:
            self._interrupts &= ~(value & _CLEARABLE)
            if value & Gint.SOF:
                self._sof_at = self._clock.now
        elif offset == DIEPINT0:
            self._in_flags &= ~value
        elif offset == DOEPINT0:
            self._out_flags &= ~value
        elif DIEPCTL0 <= offset < PCGCCTL and not offset & 0x1F:
            self._write_end_control(offset, value)
        elif offset not in (GRXSTSR, GRXSTSP, HNPTXSTS, CID, DSTS, DAINT, DTXFSTS0):
            self._store(offset, value)

    def _store(self, offset: int, value: int) -> None:
        old = self._registers.get(offset, 0)
        self._registers[offset] = value
        if offset == GUSBCFG and (old ^ value) & FDMOD:
            self._forced_at = self._clock.now if value & FDMOD else None
        if offset in (GRXFSIZ, DIEPTXF0):
            self.sizes_set.add(offset)
            self.flushed.clear()
        if offset < DIEPCTL0 or offset == PCGCCTL:
            self.is_news = True

    def _write_reset_control(self, value: int) -> None:
        if value & CSRST:
            if not self._idle_seen:
                self.mistake("the core reset began before GRSTCTL.AHBIDL was read as 1")
            self._idle_seen = False
            self._reset_ends = self._clock.now + _RESET_SECONDS
        if value & TXFFLSH and value >> 6 & 0x1F in (0, 0x10):
            self._tx.clear()
            self.flushed.add("tx")
        if value & RXFFLSH:
            self._rx.clear()
            self._rx_words, self._unread = 0, b""
            self.flushed.add("rx")
        self.is_news = True

    def _write_end_control(self, offset: int, value: int) -> None:
        """DxEPCTL: some bits do something, STALL of endpoint 0 can only be set."""
        old = self._registers.get(offset, 0)
        if offset == DIEPCTL0:
            self._in_flags |= _INEPNE if value & _SNAK else 0
            self._in_flags |= _EPDISD if value & _EPDIS and old & _EPENA else 0
        nak = (old | (_NAKSTS if value & _SNAK else 0)) & ~(_NAKSTS if value & _CNAK else 0)
        enabled = (old | value) & _EPENA
        if value & _EPDIS and offset != DOEPCTL0:
            enabled = 0
        plain = value & ~(_NAKSTS | _CNAK | _SNAK | _EPDIS | _EPENA | 3 << 28)
        if offset == DOEPCTL0:
            plain = plain & ~_MPSIZ | self._registers[DIEPCTL0] & _MPSIZ
        if offset in (DIEPCTL0, DOEPCTL0):
            plain |= old & _STALL | 1 << 15
        else:
            enabled = 0
        self._registers[offset] = plain | nak & _NAKSTS | enabled

    def _push(self, value: int) -> None:
        """A word for the transmit FIFO of endpoint 0."""
        if len(self._tx) // 4 >= self._registers[DIEPTXF0] >> 16:
            raise _fault(FIFO0, "a write to the full transmit FIFO", "DTXFSTS tells what fits")
        self._tx += (value & 0xFFFF_FFFF).to_bytes(4, "little")


def _fault(offset: int, found: str, expected: str) -> SimulationFault:
    return SimulationFault(f"OTG_FS at 0x{BASE + offset:08X}", found, expected)
