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
PADDING = 6
TOP = 94
NARROW, WIDE = 0.68, 1.1
"""Width of a character for each pixel of a text's size, at most; bold W is the widest of all."""
WIDE_CHARACTERS = frozenset("mwMW@%")
SMALLEST_TEXT = 8

COLOURS = {
    "loader": "#c9d7f2",
    "staging": "#fbe3b3",
    "app": "#cdeac6",
    "marks": "#e6d3ee",
    "free": "#ffffff",
}
DATA_COLOUR = "#e4e4e4"
GREY = 'fill="#444444"'
FILL_COLOUR = "#00000026"


def draw_svg(layout: Layout, filled: Mapping[str, int] | None = None) -> str:
    """Return an SVG document; ``filled`` gives the bytes in use of an area by its name."""
    sectors = layout.chip.sectors_per_bank
    width, height = sectors * SECTOR_WIDTH + 2 * MARGIN, TOP + 2 * BANK_HEIGHT
    title = escape(layout.product_name)
    room = width - 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img" font-family="sans-serif">',
        f"<title>{title}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _fitted(MARGIN, 32, room, layout.product_name, 17, 'font-weight="bold"'),
        _fitted(MARGIN, 52, room, f"{layout.product_id}, {layout.chip.name}", 12, GREY),
        _fitted(MARGIN, 68, room, f"layout id {layout.layout_id.hex()}", 12, GREY),
    ]
    found = rows(layout)
    for number, bank in enumerate(layout.chip.banks, start=1):
        top = TOP + (number - 1) * BANK_HEIGHT
        lines.append(_fitted(MARGIN, top + 12, room, _range(number, layout), 13, GREY))
        for row in found:
            if row.bank == number:
                lines += _area(row, bank, top + 22, (filled or {}).get(row.name))
        lines += _ticks(bank, top + 22)
    return "\n".join([*lines, "</svg>", ""])


def _range(number: int, layout: Layout) -> str:
    first, second = layout.chip.banks
    bank = layout.chip.banks[number - 1]
    text = f"bank {number}, 0x{bank.start:08X}..0x{bank.end - 1:08X}"
    if number == 2 and first.end < second.start:
        text += f"; no flash from 0x{first.end:08X} to here"
    return text


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
    inside, room = left + PADDING, width - 2 * PADDING
    yield from _name(inside, top, room, row.name)
    yield _fitted(inside, top + 49, room, f"{row.size // KIB} KiB", 12)
    if used is not None:
        text = f"{used} bytes, {100 * used / row.size:.0f} %"
        yield _fitted(inside, top + 68, room, text, 12)
    yield _text(left, top + BAR_HEIGHT + 16, 11, f"0x{row.start:08X}", 'font-family="monospace"')


def _ticks(bank: Span, top: int) -> Iterator[str]:
    """Yield a short line at each border between sectors."""
    bottom = top + BAR_HEIGHT
    for at in range(bank.start + SECTOR_SIZE, bank.end, SECTOR_SIZE):
        x = _x(at, bank)
        yield f'<path d="M{x:g} {bottom - 7}V{bottom}" stroke="#333333" stroke-width="1"/>'


def _x(address: int, bank: Span) -> float:
    return MARGIN + (address - bank.start) / SECTOR_SIZE * SECTOR_WIDTH


def _name(left: float, top: int, room: float, name: str) -> Iterator[str]:
    """Yield the name of an area, in two lines if it is long and has a joint."""
    middle = len(name) // 2
    joints = [at for at, letter in enumerate(name) if letter == "_"]
    if _width(name, 12) <= room or not joints:
        yield _fitted(left, top + 30, room, name, 16)
        return
    joint = min(joints, key=lambda at: abs(at - middle)) + 1
    yield _fitted(left, top + 18, room, name[:joint], 12)
    yield _fitted(left, top + 32, room, name[joint:], 12)


def _width(text: str, size: float) -> float:
    return size * sum(WIDE if c in WIDE_CHARACTERS else NARROW for c in text)


def _fitted(left: float, y: int, room: float, text: str, size: int, extra: str = "") -> str:
    """Return a text no wider than ``room`` pixels: smaller, and squeezed if that does not do."""
    fits = room / _width(text, 1) if text else size
    small = max(SMALLEST_TEXT, min(size, int(fits)))
    if small > fits:
        extra += f' textLength="{room:g}" lengthAdjust="spacingAndGlyphs"'
    return _text(left, y, small, text, extra.strip())


def _text(x: float, y: int, size: int, text: str, extra: str = "") -> str:
    more = f" {extra}" if extra else ""
    return f'<text x="{x:g}" y="{y}" font-size="{size}"{more}>{escape(text)}</text>'
