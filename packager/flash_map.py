"""Pictures of the flash for the terminal, drawn from a layout."""

from __future__ import annotations

from dataclasses import dataclass

from packager.chip import KIB, SECTOR_SIZE
from packager.layout import Layout

BAR_WIDTH = 32
NAME_WIDTH = 10
"""Characters of the column of names, unless one is longer."""


@dataclass(frozen=True)
class Row:
    """One run of sectors with one role (``free`` when no area claims it)."""

    bank: int
    start: int
    size: int
    name: str


def rows(layout: Layout) -> list[Row]:
    """Return the whole flash as runs of sectors, in ascending order."""
    result: list[Row] = []
    by_start = {span.start: (name, span) for name, span in layout.areas.items()}
    for number, bank in enumerate(layout.chip.banks, start=1):
        at = bank.start
        while at < bank.end:
            if at in by_start:
                name, span = by_start[at]
                result.append(Row(number, at, span.size, name))
                at = span.end
            else:
                following = [start for start in by_start if at < start < bank.end]
                end = min(following, default=bank.end)
                result.append(Row(number, at, end - at, "free"))
                at = end
    return result


def draw(layout: Layout, filled: dict[str, int] | None = None) -> str:
    """Draw the flash map; ``filled`` gives the bytes in use of an area by its name."""
    filled = filled or {}
    total = layout.chip.flash_kib * KIB
    lines = [f"{layout.chip.name}, {layout.product_name} ({layout.product_id})"]
    bank, found = 0, rows(layout)
    width = max(NAME_WIDTH, *(len(row.name) for row in found))
    for row in found:
        if row.bank != bank:
            bank = row.bank
            lines.append(f"bank {bank}")
        lines.append(_line(row, total, filled.get(row.name), width))
    return "\n".join(lines)


def _line(row: Row, total: int, used: int | None, width: int) -> str:
    sectors = row.size // SECTOR_SIZE
    text = (
        f"  0x{row.start:08X}  {row.name:<{width}} {sectors} x 128 KiB = {row.size // KIB:>4} KiB"
        f"  {100 * row.size / total:5.1f} %"
    )
    if used is None:
        return text
    marks = min(BAR_WIDTH, -(-used * BAR_WIDTH // row.size))
    bar = "#" * marks + "." * (BAR_WIDTH - marks)
    return f"{text}  [{bar}] {used} bytes, {100 * used / row.size:.0f} %"
