"""A boot, with what the application finds in RAM at its first instruction."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from packager.errors import FormatError
from packager.format import RESULT_SIZE
from packager.layout import Layout
from packager.records import ResultRecord, parse_result
from packager.sim.board import Board, BootReport
from packager.sim.outcome import Handover


class Told(NamedTuple):
    """A boot report; the result record if the application was entered with a valid one."""

    report: BootReport
    result: ResultRecord | None
    memory: dict[int, bytes]
    """All RAM by address at the jump, if it was asked for."""


def boot(board: Board, layout: Layout, *, memory: bool = False, **how: Any) -> Told:
    """Power the board on and read RAM when the application is entered."""
    results: list[ResultRecord] = []
    copies: dict[int, bytes] = {}

    def look(_: Handover) -> None:
        with suppress(FormatError):
            results.append(parse_result(board.read(layout.result_record, RESULT_SIZE)))
        if memory:
            copies.update({at: bytes(ram) for at, ram in board.rams.buffers.items()})

    board.on_jump = look
    try:
        report = board.boot(**how)
    finally:
        board.on_jump = None
    return Told(report, results[-1] if results else None, copies)
