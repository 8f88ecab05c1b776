"""The acceptance table: how every client ends on every ROM, printed below the test results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

PROPERTY = "bus table"
"""Property of a test that holds the fields of a :func:`cell`."""
EVENTS = ("clean", "unplug", "protected", "wrong file", "resume")
HANGS = "hangs"
_TITLE = (
    "drops, expected/seen: exit code, and what runs after a power cycle; "
    "'hangs' = for ever, so the cable is pulled"
)


def cell(row: str, event: str, expected: str, seen: str, seconds: float) -> list[str]:
    """Return the property of one case: its row and column, what was to come and what came."""
    return [row, event, expected, seen, f"{seconds:.1f}"]


def render(cells: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of the table."""
    known = {(row, event): (expected, seen) for row, event, expected, seen, _ in cells}
    if not known:
        return []
    head = ["", *EVENTS]
    lines = [head]
    for row in dict.fromkeys(row for row, _ in known):
        pairs = (known.get((row, event)) for event in EVENTS)
        lines.append([row, *("/".join(pair) if pair else "-" for pair in pairs)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = ["  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)) for line in lines]
    return [_TITLE, *(text.rstrip() for text in texts), _sum(cells)]


def _sum(cells: Iterable[Sequence[str]]) -> str:
    all_of = list(cells)
    other = sum(expected != seen for _, _, expected, seen, _ in all_of)
    longest = max(float(seconds) for *_, seen, seconds in all_of if not seen.startswith(HANGS))
    verdict = f"{other} not as expected" if other else "all as expected"
    return f"{len(all_of)} drops, {verdict}; the longest took {longest:.1f} virtual seconds"
