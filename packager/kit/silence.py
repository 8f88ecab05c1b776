"""How long a device stays silent while it installs: the one place of these figures.

What the loader does between the plug and the new application: look at the whole update, erase the
app area, program it, read everything back, write its records, erase the header of the update. The
flash takes most of that, and the datasheet says how long; the core's share was counted.

Two figures come out. *Usual* takes the datasheet's typical times and erases only what the image
needs. *Longest* takes the maximum times, erases the whole app area and the marks as well, and gives
the core twice the counted cycles. A worn-out sector that must be erased again is in neither.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from packager.chip import FLASH_WORD, SECTOR_SIZE


class Times(NamedTuple):
    """Seconds of each thing an install is made of."""

    erase: float
    program: float
    cycle: float


# DS12110, flash memory characteristics, 64-bit parallelism as the loader sets it: a 128 KiB sector,
# a flash word. The loader runs from the 64 MHz of the HSI; memory may cost every other cycle.
TYPICAL = Times(erase=1.0, program=100e-6, cycle=1 / 64e6)
MAXIMUM = Times(erase=2.0, program=200e-6, cycle=2 / 64e6)

CYCLES_PER_BYTE = 350
"""Counted: 275 to 288 instructions for each byte of image, all checks included."""
CYCLES_PER_INSTALL = 20_000_000
"""Counted: 9.5 million for curve arithmetic and the looks at an empty flash."""
RECORD_WORDS = 192
"""Flash words of records; counted with seven sectors and full marks: 22 records of 4 words."""
STEP = 5
"""Nobody counts single seconds: the longest time is a multiple of this."""


class Silence(NamedTuple):
    """Whole seconds that a device stays silent after it was plugged in."""

    usual: int
    longest: int


def silence(image_size: int, app_size: int) -> Silence:
    """Return how long the install of an image takes that may replace any other."""
    needed = math.ceil(image_size / SECTOR_SIZE) + 1  # and the header of the update
    all_of_it = math.ceil(app_size / SECTOR_SIZE) + 2  # and the marks
    longest = _seconds(image_size, all_of_it, MAXIMUM)
    return Silence(
        math.ceil(_seconds(image_size, needed, TYPICAL)), STEP * math.ceil(longest / STEP)
    )


def _seconds(image_size: int, erases: int, times: Times) -> float:
    words = math.ceil(image_size / FLASH_WORD) + RECORD_WORDS
    cycles = CYCLES_PER_INSTALL + CYCLES_PER_BYTE * image_size
    return erases * times.erase + words * times.program + cycles * times.cycle
