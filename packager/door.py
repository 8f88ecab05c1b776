"""What the info block says of the loader's own DFU: who opens it and how it shows itself."""

from __future__ import annotations

from typing import Any

from packager.format import ENTRY_DOUBLE_RESET, PIN_NONE, Recovery
from packager.layout import Layout


def door_fields(layout: Layout) -> dict[str, Any]:
    """Return the fields of the info block that describe it; none where there is no such door."""
    if layout.recovery is not Recovery.DFU:
        return {}
    entry, usb = layout.entry, layout.usb
    return {
        "entry_pin": pin_word(entry.pin, active_high=entry.pin_is_high),
        "entry_flags": ENTRY_DOUBLE_RESET if entry.double_reset else 0,
        "watchdog_resets": entry.watchdog_resets,
        "usb_vid": usb.vid,
        "usb_pid": usb.pid,
        "option_bytes_alt": int(usb.option_bytes_are_readable),
        "usb_manufacturer": usb.manufacturer.encode("ascii").ljust(32, b"\0"),
        "usb_product": usb.product.encode("ascii").ljust(32, b"\0"),
    }


def pin_word(pin: tuple[str, int] | None, *, active_high: bool) -> int:
    """Return a pin as the info block has it: number, port << 8 (0 is A), active high << 16."""
    if pin is None:
        return PIN_NONE
    port, number = pin
    return int(active_high) << 16 | (ord(port) - ord("A")) << 8 | number


def indicator_word(layout: Layout) -> int:
    """Return the pin of the light as the info block has it."""
    return pin_word(layout.indicator.pin, active_high=layout.indicator.pin_is_high)
