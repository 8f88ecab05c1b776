"""The error code of a flash word: 256 data bits and 10 code bits (RM0433 4.3.12).

ST does not publish the code matrix. This is a Hamming code with an overall parity bit of the same
size: it corrects one wrong bit, detects two, and like any such code it can be fooled by more. The
code of an erased word (all ones) is all ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

DATA_BITS = 256
CHECK_BITS = 9
PARITY_BIT = DATA_BITS + CHECK_BITS
BLANK_WORD = (1 << DATA_BITS) - 1


@dataclass(frozen=True)
class Decoded:
    """What reading a word gives: its data, if a bit was corrected, if too many are wrong."""

    data: int
    corrected: bool = False
    unreadable: bool = False


@cache
def columns() -> tuple[int, ...]:
    """Return the syndrome of a single error at every data and check bit."""
    data = [n for n in range(1, 1 << CHECK_BITS) if n & (n - 1)][:DATA_BITS]
    return (*data, *(1 << n for n in range(CHECK_BITS)))


@cache
def _bit_of_syndrome() -> dict[int, int]:
    return {column: bit for bit, column in enumerate(columns())}


def bits_of(number: int) -> list[int]:
    """Return the positions of the one bits of ``number``."""
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found


def bits_to_clear(data: int) -> list[int]:
    """Return the bits, code included, that programming ``data`` into a blank word has to clear."""
    clear = bits_of(data ^ BLANK_WORD)
    syndrome = 0
    for bit in clear:
        syndrome ^= columns()[bit]
    checks = bits_of(syndrome)
    parity = (len(clear) + len(checks)) & 1
    return [*clear, *(DATA_BITS + bit for bit in checks), *([PARITY_BIT] if parity else [])]


def decode(data: int, wrong: list[int]) -> Decoded:
    """Read a word that was meant to hold ``data`` and has the bits ``wrong`` inverted."""
    syndrome = 0
    for bit in wrong:
        syndrome ^= columns()[bit] if bit < PARITY_BIT else 0
        if bit < DATA_BITS:
            data ^= 1 << bit
    if len(wrong) & 1:
        if syndrome == 0:
            return Decoded(data, corrected=True)
        bit_found = _bit_of_syndrome().get(syndrome)
        if bit_found is None:
            return Decoded(data, unreadable=True)
        return Decoded(data ^ (1 << bit_found) & BLANK_WORD, corrected=True)
    return Decoded(data, unreadable=syndrome != 0)


def torn_program(data: int, rng: Random) -> Decoded:
    """Cut the programming of ``data`` into a blank word: some of its zero bits were cleared."""
    clear = bits_to_clear(data)
    rng.shuffle(clear)
    style = rng.random()
    if style < 0.15:
        left = len(clear)
    elif style < 0.30:
        left = 0
    elif style < 0.45:
        left = min(1, len(clear))
    else:
        left = rng.randint(0, len(clear))
    return decode(data, clear[:left])
