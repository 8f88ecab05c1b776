"""A vector picture of a layout for a developer's own documents: banks, sectors, areas, fill.

Plain SVG 1.1 without scripts, fonts or links; readable in print and without colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from packager.chip import KIB, SECTOR_SIZE, Span
from packager.flash_map import Row, rows
from packager.layout import Layout

SECTOR_WIDTH = 112
BAR_HEIGHT = 84
BANK_HEIGHT = BAR_HEIGHT + 92
MARGIN = 24
TOP = 76
LABEL_WIDTH = 7.5
"""Pixels a character of a label takes, at most."""

COLOURS = {
    "loader": "#c9d7f2",
    "staging": "#fbe3b3",
    "app": "#cdeac6",
    "marks": "#e6d3ee",
    "free": "#ffffff",
}
DATA_COLOUR = "#e4e4e4"
FILL_COLOUR = "#00000026"


def draw_svg(layout: Layout, filled: Mapping[str, int] | None = None) -> str:
    """Return an SVG document; ``filled`` gives the bytes in use of an area by its name."""
    sectors = layout.chip.sectors_per_bank
    width, height = sectors * SECTOR_WIDTH + 2 * MARGIN, TOP + 2 * BANK_HEIGHT
    title = escape(layout.product_name)
    about = f"{layout.product_id}, {layout.chip.name}, layout id {layout.layout_id.hex()}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img" font-family="sans-serif">',
        f"<title>{title}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(MARGIN, 32, 17, layout.product_name, 'font-weight="bold"'),
        _text(MARGIN, 52, 12, about, 'fill="#444444"'),
    ]
    found = rows(layout)
    for number, bank in enumerate(layout.chip.banks, start=1):
        top = TOP + (number - 1) * BANK_HEIGHT
        lines.append(_text(MARGIN, top + 12, 13, _range(number, bank), 'fill="#444444"'))
        for row in found:
            if row.bank == number:
                lines += _area(row, bank, top + 22, (filled or {}).get(row.name))
        lines += _ticks(bank, top + 22)
    return "\n".join([*lines, "</svg>", ""])


def _range(number: int, bank: Span) -> str:
    return f"bank {number}, 0x{bank.start:08X}..0x{bank.end - 1:08X}"


def _area(row: Row, bank: Span, top: int, used: int | None) -> Iterator[str]:
    left = _x(row.start, bank)
    width = row.size / SECTOR_SIZE * SECTOR_WIDTH
    colour = COLOURS.get(row.name, DATA_COLOUR)
    dashes = ' stroke-dasharray="5 4"' if row.name == "free" else ""
    yield (
        f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{BAR_HEIGHT}" fill="{colour}"'
        f' stroke="#333333"{dashes}/>'
    )
    if used is not None:
        part = width * min(used, row.size) / row.size
        yield (
            f'<rect x="{left:g}" y="{top}" width="{part:g}" height="{BAR_HEIGHT}"'
            f' fill="{FILL_COLOUR}"/>'
        )
    yield _label(left, top + 30, width, row.name, 16)
    yield _label(left, top + 49, width, f"{row.size // KIB} KiB", 12)
    if used is not None:
        text = f"{used} bytes, {100 * used / row.size:.0f} %"
        yield _label(left, top + 68, width, text, 12)
    yield _text(left, top + BAR_HEIGHT + 16, 11, f"0x{row.start:08X}", 'font-family="monospace"')


def _ticks(bank: Span, top: int) -> Iterator[str]:
    """Yield a short line at each border between sectors."""
    bottom = top + BAR_HEIGHT
    for at in range(bank.start + SECTOR_SIZE, bank.end, SECTOR_SIZE):
        x = _x(at, bank)
        yield f'<path d="M{x:g} {bottom - 7}V{bottom}" stroke="#333333" stroke-width="1"/>'


def _x(address: int, bank: Span) -> float:
    return MARGIN + (address - bank.start) / SECTOR_SIZE * SECTOR_WIDTH


def _label(left: float, y: int, width: float, text: str, size: int) -> str:
    """Return a text inside an area, squeezed if it is too long."""
    room = width - 12
    squeeze = f' textLength="{room:g}" lengthAdjust="spacingAndGlyphs"'
    long = len(text) * LABEL_WIDTH * size / 13 > room
    return _text(left + 6, y, size, text, squeeze.strip() if long else "")


def _text(x: float, y: int, size: int, text: str, extra: str = "") -> str:
    more = f" {extra}" if extra else ""
    return f'<text x="{x:g}" y="{y}" font-size="{size}"{more}>{escape(text)}</text>'
