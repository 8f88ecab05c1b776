"""Is this a Cortex-M vector table that can run where the layout puts it?

The loader asks the same two questions before it trusts an image (reason ``IMAGE_VECTORS``).
"""

from __future__ import annotations

from packager.chip import Chip, Ram, Span

VECTORS_SIZE = 8
"""Bytes looked at: initial SP and reset handler (ARMv7-M B1.5.3)."""
STACK_ALIGNMENT = 8
"""Bytes: the stack pointer at every public interface (AAPCS 6.2.1.2)."""
STACK_RAM = ("DTCM", "AXI SRAM", "SRAM1-3", "SRAM1", "SRAM4")
"""RAM where a stack may begin; ITCM is for code, backup SRAM has no clock after reset."""


def stack_ram(chip: Chip) -> tuple[Ram, ...]:
    """Return the RAM regions an initial SP may point into, the ``ram`` areas of the info block."""
    return tuple(ram for ram in chip.ram if ram.name in STACK_RAM)


def initial_sp(image: bytes) -> int:
    """Return the first vector."""
    return int.from_bytes(image[0:4], "little")


def reset_handler(image: bytes) -> int:
    """Return the second vector, Thumb bit included."""
    return int.from_bytes(image[4:8], "little")


def sp_is_plausible(image: bytes, chip: Chip) -> bool:
    """Tell whether the initial SP lies in RAM; the end of a RAM counts (the stack descends)."""
    sp = initial_sp(image)
    in_ram = any(ram.span.start < sp <= ram.span.end for ram in stack_ram(chip))
    return in_ram and sp % STACK_ALIGNMENT == 0


def reset_is_plausible(image: bytes, address: int) -> bool:
    """Tell whether the reset handler is Thumb code inside the image behind the two vectors."""
    reset = reset_handler(image)
    inside = Span(address, len(image)).contains(reset & ~1, 2)
    return bool(reset & 1) and inside and reset - address >= VECTORS_SIZE


def vectors_are_plausible(image: bytes, address: int, chip: Chip) -> bool:
    """Tell whether an image at ``address`` starts with vectors that can run."""
    long_enough = len(image) >= VECTORS_SIZE
    return long_enough and sp_is_plausible(image, chip) and reset_is_plausible(image, address)
