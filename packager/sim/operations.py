"""Flash operations as values: what was done, how long it takes, and where the power may go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from packager.errors import PackagerError


class OpKind(StrEnum):
    """What a flash operation does."""

    PROGRAM = "program"
    ERASE = "erase"
    BANK_ERASE = "bank-erase"
    OPTIONS = "options"


@dataclass(frozen=True)
class FlashOp:
    """One flash operation; ``index`` counts from 1 since power-on, ``time`` is virtual seconds."""

    index: int
    kind: OpKind
    address: int
    size: int
    time: float
    virgin: bool = True
    """False for a program over a word that was not blank: it leaves an unreadable word."""


class Flavour(StrEnum):
    """When inside an operation the power goes."""

    BEFORE = "before"
    TORN = "torn"
    AFTER = "after"


@dataclass(frozen=True)
class Cut:
    """A power cut at one operation, counted from 1 since power-on; written like ``137-torn``."""

    index: int
    flavour: Flavour | str

    def __post_init__(self) -> None:
        if self.index < 1 or self.flavour not in set(Flavour):
            raise _not_a_cut(str(self))
        object.__setattr__(self, "flavour", Flavour(self.flavour))

    @classmethod
    def parse(cls, text: str) -> Cut:
        """Read a cut as :meth:`__str__` writes it."""
        number, _, flavour = text.partition("-")
        if not number.isdecimal():
            raise _not_a_cut(text)
        return cls(int(number), flavour)

    def __str__(self) -> str:
        return f"{self.index}-{self.flavour}"


def _not_a_cut(text: str) -> PackagerError:
    return PackagerError(
        f"cut '{text}'",
        "this is not a cut",
        "expected NUMBER-before, NUMBER-torn or NUMBER-after",
        "take the number from the list of operations, the first is 1",
    )


class PowerCut(Exception):
    """The planned power cut happened; the flash holds what it left."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(f"power cut at {cut}")
        self.cut = cut


class BusError(Exception):
    """The bus answers an access with an error response."""


class Timing(Enum):
    """Which column of the datasheet the flash takes (DS12110 table of flash characteristics)."""

    TYPICAL = 0
    MAXIMUM = 1

    def erase(self, psize: int) -> float:
        """Seconds to erase a 128 KiB sector at CR.PSIZE (0: x8 .. 3: x64)."""
        return _ERASE_SECONDS[psize & 3][self.value]

    def program(self, psize: int) -> float:
        """Seconds to program a flash word at CR.PSIZE."""
        return _PROGRAM_SECONDS[psize & 3][self.value]


_ERASE_SECONDS = ((2.0, 4.0), (1.8, 3.6), (1.1, 2.2), (1.0, 2.0))
_PROGRAM_SECONDS = ((290e-6, 580e-6), (180e-6, 360e-6), (130e-6, 260e-6), (100e-6, 200e-6))
BANK_ERASE_SECTORS = 5
"""A bank erase takes about as long as this many sector erases."""
