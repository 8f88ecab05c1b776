"""Sorts of values in a layout: how each is read, described to people, and to editors.

A reader takes what YAML made of the text and returns a checked value, or raises :class:`Unfit`. The
JSON Schema beside it accepts the same values; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from packager.chip import CHIPS, KIB, UNSUPPORTED, Span
from packager.vectors import STACK_RAM

Schema = dict[str, Any]
"""A JSON Schema (draft 7), as JSON has it."""

_SIZE = r"(?:0*([1-9]\d{0,5}) ?K|0*([1-9]\d{0,2}) ?M)(?:iB)?"
"""More than nothing, and less than 1 GiB."""
_LARGEST = 0xFFFF_FFFF
_MANY = 40
"""Items of a list that are looked at for a message of 40 characters."""
_PART = r"(?:stm32|nucleo-?)?(?P<family>h7[0-9ab][0-9])(?:[a-z](?P<size>[a-z])?[a-z0-9]*)?"
"""A part as it is ordered (stm32h743zit6) or sits on a board (nucleo-h743zi2), in lower case."""
_PIN = r"P([A-J]([0-9]|1[0-5])|K[0-7])"


class Unfit(Exception):
    """A value does not fit its key: found, expected, what to do."""


class Kind(NamedTuple):
    """One sort of value."""

    read: Callable[[Any], Any]
    wanted: str
    """What it expects, in the words of messages and of the reference."""
    schema: Schema
    digits: int = 0
    """Hexadecimal digits in which people write it; 0 for decimal."""


def chip_kind() -> Kind:
    """Return the kind of a chip's name."""
    wanted = f"one of {', '.join(CHIPS)}"
    return Kind(_chip, wanted, {"type": "string", "enum": list(CHIPS)})


def text(pattern: str, wanted: str, limit: int) -> Kind:
    """Return the kind of a string that matches ``pattern``, at most ``limit`` characters."""

    def read(value: Any) -> str:
        fits = isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII)
        if not fits or len(value) > limit:
            raise Unfit(f"found {shown(value)}", f"expected {wanted}", "change it")
        return str(value)

    schema = {"type": "string", "pattern": f"^{pattern}$", "maxLength": limit}
    return Kind(read, wanted, schema)


def number(low: int, high: int, wanted: str, digits: int = 0) -> Kind:
    """Return the kind of an integer from ``low`` to ``high``, written in hexadecimal ``digits``."""

    def read(value: Any) -> int:
        if not _is_integer(value) or not low <= value <= high:
            raise Unfit(f"found {shown(value)}", f"expected {wanted}", "change it")
        return int(value)

    return Kind(read, wanted, {"type": "integer", "minimum": low, "maximum": high}, digits)


def switch() -> Kind:
    """Return the kind of yes and no."""
    wanted = "true or false"

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise Unfit(f"found {shown(value)}", f"expected {wanted}", "choose one")
        return value

    return Kind(read, wanted, {"type": "boolean"})


def pin() -> Kind:
    """Return the kind of a pin's name; it reads as port letter and number."""
    wanted = "a pin like PC13"

    def read(value: Any) -> tuple[str, int]:
        fits = isinstance(value, str) and re.fullmatch(_PIN, value, re.ASCII)
        if not fits:
            raise Unfit(f"found {shown(value)}", f"expected {wanted}", "change it")
        return str(value)[1], int(str(value)[2:])

    return Kind(read, wanted, {"type": "string", "pattern": f"^{_PIN}$"})


def choice(choices: Mapping[str, Any]) -> Kind:
    """Return the kind of one word of several."""
    wanted = f"one of {', '.join(choices)}"

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise Unfit(f"found {shown(value)}", f"expected {wanted}", "choose one")
        return choices[value]

    return Kind(read, wanted, {"type": "string", "enum": list(choices)})


def level(levels: Iterable[int]) -> Kind:
    """Return the kind of one number of several."""
    known = list(levels)
    wanted = f"one of {', '.join(map(str, known))}"

    def read(value: Any) -> int:
        if not _is_integer(value) or value not in known:
            raise Unfit(f"found {shown(value)}", f"expected {wanted}", "choose the next lower one")
        return int(value)

    return Kind(read, wanted, {"type": "integer", "enum": known})


def area() -> Kind:
    """Return the kind of an area of flash: ``{start: address, size: bytes}``."""
    size: Schema = {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": _LARGEST},
            {"type": "string", "pattern": f"^{_SIZE}$"},
        ]
    }
    start: Schema = {"type": "integer", "minimum": 0, "maximum": _LARGEST}
    schema: Schema = {
        "type": "object",
        "properties": {"start": start, "size": size},
        "required": ["start", "size"],
        "additionalProperties": False,
    }
    return Kind(_area, "exactly start and size", schema)


class RamChoice(NamedTuple):
    """RAM as a layout names it: a region of the chip, or addresses of one's own."""

    name: str = ""
    addresses: tuple[int, int] = (0, 0)
    """Start and size in bytes, where there is no name."""


def ram() -> Kind:
    """Return the kind of RAM: the name of a region, or ``{start: address, size: bytes}``."""
    names = ", ".join(STACK_RAM)
    wanted = f"a RAM of the chip ({names}) or start and size"

    def read(value: Any) -> RamChoice:
        if isinstance(value, Mapping):
            span = _span(value, "0x24000000", "say how much of it the application has")
            return RamChoice(addresses=(span.start, span.size))
        if not isinstance(value, str) or value not in STACK_RAM:
            do = did_you_mean(str(value).upper(), STACK_RAM) or "choose one"
            raise Unfit(f"found {shown(value)}", f"expected {wanted}", do)
        return RamChoice(value)

    named: Schema = {"type": "string", "enum": list(STACK_RAM)}
    return Kind(read, wanted, {"anyOf": [named, area().schema]})


def shown(value: Any) -> str:
    """Return a value as YAML has it, in at most 40 characters."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int():
            written = f"0x{value:08X}" if value > 0xFFFF else str(value)
        case str():
            written = f"'{value}'"
        case Mapping():
            written = "{" + ", ".join(str(name) for name in islice(value, _MANY)) + "}"
        case list():
            written = "[" + ", ".join(_flat(item) for item in value[:_MANY]) + "]"
        case _:
            written = str(value)
    written = "".join(c if c.isprintable() else " " for c in written)
    return written if len(written) <= 40 else written[:37] + "..."


def _flat(value: Any) -> str:
    """Return an item of a list; aliases can make what is inside of it endless."""
    match value:
        case Mapping():
            return "{...}"
        case list() | tuple():
            return "[...]"
    return shown(value) if isinstance(value, str) else str(value)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the name that is closest, or nothing."""
    import difflib  # only a broken layout pays for it

    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _chip(value: Any) -> Any:
    if isinstance(value, str) and value in CHIPS:
        return CHIPS[value]
    part = re.fullmatch(_PART, str(value).lower(), re.ASCII)
    if part is None:
        do = did_you_mean(str(value).lower(), CHIPS) or "name a known chip"
        raise Unfit(f"found {shown(value)}", f"expected one of {', '.join(CHIPS)}", do)
    family, size = f"stm32{part['family']}", part["size"]
    name = f"{family}x{size}"
    reason = UNSUPPORTED.get(name) or UNSUPPORTED.get(family)
    if reason:
        raise Unfit(f"{shown(value)} cannot be used", *reason)
    kin = [chip for chip in CHIPS if chip.startswith(family)]
    if name in CHIPS:
        expected = "expected family and flash size in lower case, 'x' for any package"
        raise Unfit(f"found {shown(value)}", expected, f"did you mean '{name}'?")
    if kin:
        sizes = " or ".join(f"{chip} ({CHIPS[chip].flash_kib} KiB)" for chip in kin)
        do = "look at the second letter behind the number on the chip"
        raise Unfit(f"found {shown(value)}", f"expected {sizes}", do)
    do = did_you_mean(name, CHIPS) or "name a known chip"
    raise Unfit(f"found {shown(value)}", f"expected one of {', '.join(CHIPS)}", do)


def _size(value: Any) -> int:
    if _is_integer(value):
        return int(value)
    match = re.fullmatch(_SIZE, value, re.ASCII) if isinstance(value, str) else None
    if not match:
        raise Unfit(f"found size {shown(value)}", "expected bytes or like 128K, 1M", "change it")
    return int(match[1]) * KIB if match[1] else int(match[2]) * KIB * KIB


def _area(value: Any) -> Span:
    return _span(value, "0x08020000", "use whole sectors of 128K")


def _span(value: Any, start_like: str, size_do: str) -> Span:
    if not isinstance(value, Mapping) or set(value) != {"start", "size"}:
        raise Unfit(
            f"found {shown(value)}",
            "expected exactly start and size",
            f"write it like {{start: {start_like}, size: 128K}}",
        )
    start = value["start"]
    if not _is_integer(start) or not 0 <= start <= _LARGEST:
        found = f"found start {shown(start)}"
        raise Unfit(found, "expected a 32-bit address", f"write it like {start_like}")
    size = _size(value["size"])
    if not 0 < size <= _LARGEST:
        raise Unfit(f"found size {size}", "expected more than 0", size_do)
    return Span(int(start), size)
