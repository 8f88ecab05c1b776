"""What the marks of a device say, read without any code of the loader or the packager's readers."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from packager.chip import FLASH_WORD
from packager.format import CARRY_SIZE, RECORD_SIZE
from packager.layout import Layout
from packager.records import AppState, RecordType
from packager.sim.board import Board
from packager.sim.cells import Word

_TYPES = {int(kind) for kind in RecordType}
_ENOUGH_BLANK = 16
_BLANK = b"\xff" * RECORD_SIZE


class Note(NamedTuple):
    """One valid record."""

    kind: int
    sequence: int
    floor_counter: int
    floor_version: int
    version: int
    counter: int
    image_size: int
    update_id: bytes
    digest: bytes
    state: int
    reason: int
    refused_run: int
    kept: bytes = b""
    """What a refusal repeats, byte by byte: floor, what is installed, how far an install is."""

    @property
    def floor(self) -> tuple[int, int]:
        """What a later update must not be below."""
        return self.floor_counter, self.floor_version


NOTHING = Note(0, 0, 0, 0, 0, 0, 0, b"", b"", int(AppState.NONE), 0, 0)._replace(
    kept=bytes(92) + AppState.NONE.to_bytes(4, "little")
)


def parse(raw: bytes) -> Note | None:
    """Return the record in 128 bytes, if there is one."""
    if int.from_bytes(raw[:4], "little") not in _TYPES:
        return None
    if zlib.crc32(raw[:124]) != int.from_bytes(raw[124:], "little"):
        return None
    head, tail = struct.unpack_from("<7I", raw), struct.unpack_from("<3I", raw, 100)
    return Note._make((*head, raw[32:64], raw[64:96], *tail, raw[8:104]))


def newest(board: Board, layout: Layout, *, lasting: bool = False) -> Note:
    """Return the record with the highest sequence in marks and carry area.

    Every word as it reads now; or only records without a word that will fade.
    """
    best, blank = NOTHING, 0
    marks = board.flash.peek(layout.marks.start, layout.marks.size)
    for at in range(0, len(marks), RECORD_SIZE):
        raw = marks[at : at + RECORD_SIZE]
        blank = blank + 1 if raw == _BLANK else 0
        if blank > _ENOUGH_BLANK:
            break
        best = _newer(board, layout.marks.start + at, raw, best, lasting)
    start = layout.app.end - CARRY_SIZE
    carry = board.flash.peek(start, CARRY_SIZE)
    for at in range(0, CARRY_SIZE, RECORD_SIZE):
        best = _newer(board, start + at, carry[at : at + RECORD_SIZE], best, lasting)
    return best


def _newer(board: Board, address: int, raw: bytes, best: Note, lasting: bool) -> Note:
    note = parse(raw)
    if note is None or note.sequence < best.sequence:
        return best
    words = range(address, address + RECORD_SIZE, FLASH_WORD)
    if lasting and any(board.flash.word_state(word) is Word.WEAK for word in words):
        return best
    return note
