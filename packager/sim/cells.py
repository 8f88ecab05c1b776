"""The memory cells of one flash bank: content and health of every 32-byte flash word.

The content is what a read gives; the state says whether a read succeeds and whether the word may
still be programmed (RM0433 4.3.9, 4.3.12, 4.7.7). No registers and no time here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from random import Random

from packager.chip import FLASH_WORD, SECTOR_SIZE, Span
from packager.sim import ecc

WORDS_PER_SECTOR = SECTOR_SIZE // FLASH_WORD
BLANK = b"\xff" * FLASH_WORD


class Word(IntEnum):
    """Health of a flash word."""

    BLANK = 0
    PROGRAMMED = 1
    CORRECTED = 2
    """Reads right, with the single-error flag."""
    POISONED = 3
    """Every read is a bus error."""
    WEAK = 4
    """Reads right a few more times, then it is poisoned."""
    WEAK_BLANK = 5
    """Reads blank a few more times, then it is poisoned; programmed before, it becomes weak."""


HEALTHY_BELOW = Word.CORRECTED
"""States below this one need no attention when read."""
_VIRGIN = frozenset((Word.BLANK, Word.WEAK_BLANK))


@dataclass(frozen=True)
class CellsSnapshot:
    """Content and state of a bank at one moment."""

    content: bytes
    states: bytes
    weak: dict[int, int]


class Cells:
    """The cells of one bank; ``content`` stays the same buffer for life, others may map it."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.content = bytearray(b"\xff" * span.size)
        self.states = bytearray(span.size // FLASH_WORD)
        self.weak: dict[int, int] = {}
        self._last_offset = -1
        self._noise = Random("garbage of unreadable words")

    def word_of(self, address: int) -> int:
        """Return the number of the flash word that holds ``address``."""
        return (address - self.span.start) // FLASH_WORD

    def data(self, word: int) -> bytes:
        """Return the 32 bytes a read of ``word`` gives, without any effect."""
        return bytes(self.content[word * FLASH_WORD : (word + 1) * FLASH_WORD])

    def is_virgin(self, word: int) -> bool:
        """Tell whether ``word`` may be programmed."""
        return self.states[word] in _VIRGIN

    def program(self, word: int, data: bytes) -> bool:
        """Program a word; over a word that is not virgin it leaves poison and returns False.

        Where a cut came so early that the word still reads blank, cells are half-way already that
        should stay ones now: it reads right for as long as it would have read blank.
        """
        virgin = self.is_virgin(word)
        if not virgin:
            self.poison(word)
        elif self.states[word] == Word.WEAK_BLANK:
            self.set_word(word, data, Word.WEAK, self.weak[word])
        else:
            self.set_word(word, data, Word.PROGRAMMED)
        return virgin

    def tear_program(self, word: int, data: bytes, rng: Random) -> None:
        """Program a word and lose power half-way."""
        if not self.is_virgin(word):
            self.poison(word)
            return
        got = ecc.torn_program(int.from_bytes(data, "little"), rng)
        if got.unreadable:
            self.poison(word)
            return
        read = got.data.to_bytes(FLASH_WORD, "little")
        weak = rng.random() < 0.3
        if got.corrected:
            state = Word.CORRECTED
        elif read == BLANK:
            state = Word.WEAK_BLANK if weak else Word.BLANK
        else:
            state = Word.WEAK if weak else Word.PROGRAMMED
        self.set_word(word, read, state, rng.randint(1, 6))

    def erase(self, sector: int) -> None:
        """Erase one sector: all its words are blank and healthy."""
        first = sector * WORDS_PER_SECTOR
        self.content[sector * SECTOR_SIZE : (sector + 1) * SECTOR_SIZE] = b"\xff" * SECTOR_SIZE
        self.states[first : first + WORDS_PER_SECTOR] = bytes(WORDS_PER_SECTOR)
        for word in [w for w in self.weak if first <= w < first + WORDS_PER_SECTOR]:
            del self.weak[word]

    def tear_erase(self, sector: int, rng: Random) -> None:
        """Erase a sector and lose power half-way: every word may be anything."""
        # keep, blank, corrected, poisoned, weak, weak blank
        weights = rng.choice(
            ((70, 5, 2, 18, 3, 2), (20, 20, 5, 45, 5, 5), (2, 70, 2, 18, 3, 5), (0, 0, 0, 1, 0, 0))
        )
        first = sector * WORDS_PER_SECTOR
        fates = rng.choices(range(6), weights, k=WORDS_PER_SECTOR)
        for word, fate in enumerate(fates, first):
            if fate == 1:
                self.set_word(word, BLANK, Word.BLANK)
            elif fate == 2:
                self.set_word(word, self.data(word), Word.CORRECTED)
            elif fate == 3:
                self.poison(word)
            elif fate == 4 and not self.is_virgin(word) and self.states[word] != Word.POISONED:
                self.set_word(word, self.data(word), Word.WEAK, rng.randint(1, 6))
            elif fate == 5:
                self.set_word(word, BLANK, Word.WEAK_BLANK, rng.randint(1, 6))

    def set_word(self, word: int, data: bytes, state: Word, reads: int = 0) -> None:
        """Put a word into a state; ``reads`` says how often a weak word still reads right."""
        self.content[word * FLASH_WORD : (word + 1) * FLASH_WORD] = data
        self.states[word] = state
        self.weak.pop(word, None)
        if state in (Word.WEAK, Word.WEAK_BLANK):
            self.weak[word] = reads

    def poison(self, word: int) -> None:
        """Make every read of ``word`` fail; what such a read gives is garbage."""
        self.set_word(word, self._noise.randbytes(FLASH_WORD), Word.POISONED)

    def sense(self, offset: int) -> Word:
        """Read at ``offset`` bytes into the bank: wear a weak word out, and return the state met.

        A weak word counts one read per pass over it, however many loads the pass takes. A failing
        read gives other garbage each time.
        """
        word = offset // FLASH_WORD
        state = Word(self.states[word])
        if state in (Word.WEAK, Word.WEAK_BLANK):
            if not word * FLASH_WORD <= self._last_offset < offset:
                self.weak[word] -= 1
            if self.weak[word] < 0:
                self.poison(word)
                state = Word.POISONED
        elif state == Word.POISONED:
            self.poison(word)
        self._last_offset = offset
        return state

    def snapshot(self) -> CellsSnapshot:
        """Return a copy of everything."""
        return CellsSnapshot(bytes(self.content), bytes(self.states), dict(self.weak))

    def restore(self, snapshot: CellsSnapshot) -> None:
        """Put back what :meth:`snapshot` returned, in place."""
        self.content[:] = snapshot.content
        self.states[:] = snapshot.states
        self.weak = dict(snapshot.weak)
        self._last_offset = -1
        self._noise.seed("garbage of unreadable words")
