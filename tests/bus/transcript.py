"""Transfers as compact text: one a line, repeats folded, what is only data by its length.

A line is ``type request value index length``, as on the wire but in hex words, then what was sent
or came back. ``@`` marks an address and ``#`` a block number; a group that repeats with both
growing by the same steps is written once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from packager.dfu.constants import REQUEST_IN, REQUEST_OUT, Request, State, Status

from .recorder import Transfer

LONGEST_GROUP = 8
_SHOWN = 16
"""Bytes; longer data is shown by its length."""
_POLL = f"{REQUEST_IN:02x} {Request.GETSTATUS:02x}"
_NUMBER = re.compile(r"([@#])([0-9a-f]+)")


def render(transfers: Iterable[Transfer | None]) -> list[str]:
    """Return the lines of a transcript."""
    return _fold([_line(transfer) for transfer in transfers])


def _line(transfer: Transfer | None) -> str:
    if transfer is None:
        return "bus reset"
    t = transfer
    upload = t.request_type == REQUEST_IN and t.request == Request.UPLOAD
    value = f"#{t.value:04x}" if upload else f" {t.value:04x}"
    text = f"{t.request_type:02x} {t.request:02x} {value} {t.index:04x} {t.length:04x}"
    return f"{text}  {t.failed or _content(t)}".rstrip()


def _content(t: Transfer) -> str:
    if t.request_type == REQUEST_IN and t.request == Request.GETSTATUS and len(t.data) == 6:
        poll = int.from_bytes(t.data[1:4], "little")
        return f"{Status(t.data[0]).name} {State(t.data[4]).name} {poll} ms"
    if t.request_type == REQUEST_OUT and t.value == 0 and len(t.data) == 5:
        return f"{t.data[0]:02x} @{int.from_bytes(t.data[1:], 'little'):08x}"
    if len(t.data) > _SHOWN:
        return f"{len(t.data)} bytes"
    return t.data.hex(" ")


def _fold(lines: Sequence[str]) -> list[str]:
    folded: list[str] = []
    at = 0
    while at < len(lines):
        count, size = _best_group(lines, at)
        if count > 1:
            steps = _steps(lines[at : at + size], lines[at + size : at + 2 * size]) or {}
            grows = "".join(f", {mark} + {step:x}" for mark, step in sorted(steps.items()) if step)
            folded.append(f"{count} times{grows}:")
            folded += [f"    {line}" for line in lines[at : at + size]]
            at += count * size
        else:
            folded.append(lines[at])
            at += 1
    return folded


def _best_group(lines: Sequence[str], at: int) -> tuple[int, int]:
    """Find the group at ``at`` that covers most; return how often it comes and how long it is."""
    best = (1, 1)
    longest = 1 if lines[at].startswith(_POLL) else LONGEST_GROUP  # a poll belongs to what it polls
    for size in range(1, longest + 1):
        count = 1
        first = None
        while at + (count + 1) * size <= len(lines):
            before = lines[at + (count - 1) * size : at + count * size]
            steps = _steps(before, lines[at + count * size : at + (count + 1) * size])
            if steps is None or (first is not None and steps != first):
                break
            first = steps
            count += 1
        if count > 1 and count * size > best[0] * best[1]:
            best = (count, size)
    return best


def _steps(group: Sequence[str], following: Sequence[str]) -> dict[str, int] | None:
    """Return by how much addresses and block numbers grow, None if anything else differs."""
    steps: dict[str, int] = {}
    for one, other in zip(group, following, strict=True):
        if _NUMBER.sub("", one) != _NUMBER.sub("", other):
            return None
        for (mark, a), (_, b) in zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True):
            step = int(b, 16) - int(a, 16)
            if steps.setdefault(mark, step) != step:
                return None
    return steps
