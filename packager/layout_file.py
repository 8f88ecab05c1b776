"""Reads a layout YAML into plain checked values, remembering where each one stood.

This room knows keys, their types and how YAML marks a place; what the values mean together is in
:mod:`packager.layout`. YAML 1.2 by ruamel, so ``no`` is a string, octals need ``0o``, and
a duplicate key is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from packager.chip import CHIPS, KIB, UNSUPPORTED, Span
from packager.errors import LayoutError
from packager.format import BootCheck, Recovery

MAX_FILE_SIZE = 64 * KIB
"""A layout is a page of text; anything larger is something else."""

SUPPLY_LEVELS = {1950: 0, 2100: 1, 2250: 2, 2400: 3, 2550: 4, 2700: 5, 2850: 6}
"""Supply threshold in millivolts and its PWR_CR1.PLS value (RM0433 6.8.1)."""

_UNITS = {"K": KIB, "M": KIB * KIB}


class Problem(NamedTuple):
    """One broken rule: which key, what was found and expected, and what to do."""

    key: str
    found: str
    expected: str = ""
    do: str = ""

    def text(self) -> str:
        """Return ``key: found, expected; do``."""
        text = f"{self.key}: {self.found}"
        text += f", {self.expected}" if self.expected else ""
        return text + (f"; {self.do}" if self.do else "")


class Unfit(Exception):
    """A value does not fit its key: found, expected, what to do."""


class Key(NamedTuple):
    """One key of the layout: how its value is read, and its default (None: required)."""

    read: Callable[[Any], Any]
    default: Any = None


@dataclass
class Draft:
    """What could be read of a layout file, with the place of every key."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, key: str) -> tuple[int, int]:
        """Return line and column, both from 1, of a key or of the nearest one above it."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, (1, 1))

    def raise_problems(self) -> None:
        """Raise every problem at once, in the order of the file."""
        if not self.problems:
            return
        ordered = sorted(self.problems, key=lambda problem: self.place(problem.key))
        lines = []
        for problem in ordered:
            line, column = self.place(problem.key)
            lines.append(f"{self.path}:{line}:{column}: {problem.text()}")
        raise LayoutError(str(self.path), f"{len(lines)} problems", problems=tuple(lines))


def read_layout_file(path: Path) -> Draft:
    """Read the YAML of a layout; problems of single keys are collected in the draft.

    Raises:
        LayoutError: the file cannot be read or is no YAML mapping at all.
    """
    draft = Draft(path)
    root = _load_yaml(path)
    _read_mapping(draft, "", root, _TOP_KEYS)
    for section, keys in (("product", _PRODUCT_KEYS), ("areas", _AREAS_KEYS)):
        if isinstance(root.get(section), CommentedMap):
            _read_mapping(draft, f"{section}.", root[section], keys)
    if isinstance(root.get("data"), CommentedMap):
        names = {str(name): Key(_area) for name in root["data"]}
        _read_mapping(draft, "data.", root["data"], names)
    return draft


def _load_yaml(path: Path) -> CommentedMap:
    try:
        raw = path.read_bytes()[: MAX_FILE_SIZE + 1]
    except OSError as error:
        raise LayoutError(
            str(path), str(error.strerror), "a layout file", "check the path"
        ) from error
    if len(raw) > MAX_FILE_SIZE:
        raise LayoutError(str(path), "larger than 64 KiB", "a layout file", "check the path")
    try:
        root = YAML(typ="rt", pure=True).load(raw.decode("utf-8"))
    except DuplicateKeyError as error:
        raise _yaml_error(path, error, "duplicate key", "give every key once") from error
    except MarkedYAMLError as error:
        raise _yaml_error(path, error, "not YAML", "correct the syntax") from error
    # ruamel lets ValueError & co. through for odd scalars (dates, huge numbers, control bytes).
    except (YAMLError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LayoutError(str(path), f"not YAML ({reason})", "a layout file", "check it") from error
    except (AttributeError, KeyError, IndexError, AssertionError, NotImplementedError) as error:
        raise LayoutError(str(path), "not YAML the reader understands", "a layout file") from error
    if not isinstance(root, CommentedMap):
        raise LayoutError(
            str(path), "no mapping at the top", "keys such as 'chip:'", "start from layouts/"
        )
    return root


def _yaml_error(path: Path, error: MarkedYAMLError, found: str, do: str) -> LayoutError:
    mark = error.problem_mark
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    detail = (error.problem or "").splitlines()[0] if error.problem else ""
    return LayoutError(where, f"{found} ({detail})" if detail else found, "", do)


def _read_mapping(
    draft: Draft, prefix: str, mapping: CommentedMap, keys: Mapping[str, Key]
) -> None:
    for name in mapping:
        _note_place(draft, prefix, mapping, name)
        if name not in keys:
            draft.problems.append(_unknown(prefix, name, keys))
    for name, key in keys.items():
        path = prefix + name
        if name not in mapping:
            if key.default is None:
                draft.problems.append(Problem(path, "missing", "", f"add '{name}:'"))
            else:
                draft.values[path] = key.default
            continue
        try:
            draft.values[path] = key.read(mapping[name])
        except Unfit as unfit:
            draft.problems.append(Problem(path, *unfit.args))


def _note_place(draft: Draft, prefix: str, mapping: CommentedMap, name: Any) -> None:
    line, column = mapping.lc.key(name)
    draft.places[f"{prefix}{name}"] = (line + 1, column + 1)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    import difflib  # only a broken layout pays for it

    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _unknown(prefix: str, name: Any, keys: Mapping[str, Key]) -> Problem:
    do = _did_you_mean(str(name), keys) or "remove it"
    return Problem(f"{prefix}{name}", "unknown key", f"known are {', '.join(keys)}", do)


def _section(value: Any) -> Any:
    if not isinstance(value, CommentedMap):
        raise Unfit(f"found {_shown(value)}", "expected a mapping", "indent its keys below it")
    return value


def _chip(value: Any) -> Any:
    name = str(value).lower()
    if name in UNSUPPORTED:
        raise Unfit(f"'{value}' cannot be used", UNSUPPORTED[name], "use a larger part")
    if name not in CHIPS:
        do = _did_you_mean(name, CHIPS) or "name a known chip"
        raise Unfit(f"unknown chip {_shown(value)}", f"expected one of {', '.join(CHIPS)}", do)
    return CHIPS[name]


def _text(pattern: str, expected: str, limit: int) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        fits = isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII)
        if not fits or len(value) > limit:
            raise Unfit(f"found {_shown(value)}", f"expected {expected}", "change it")
        return str(value)

    return read


def _number(low: int, high: int, expected: str) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Unfit(f"found {_shown(value)}", f"expected {expected}", "change it")
        return int(value)

    return read


def _choice(choices: Mapping[str, Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise Unfit(
                f"found {_shown(value)}", f"expected one of {', '.join(choices)}", "choose one"
            )
        return choices[value]

    return read


def _millivolts(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in SUPPLY_LEVELS:
        levels = ", ".join(str(level) for level in SUPPLY_LEVELS)
        raise Unfit(
            f"found {_shown(value)}", f"expected one of {levels}", "choose the next lower one"
        )
    return int(value)


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    match = (
        re.fullmatch(r"(\d{1,9}) ?([KM])(?:iB)?", value, re.ASCII)
        if isinstance(value, str)
        else None
    )
    if not match:
        raise Unfit(f"size {_shown(value)}", "expected bytes or like 128K, 1M", "change it")
    return int(match[1]) * _UNITS[match[2]]


def _area(value: Any) -> Span:
    if not isinstance(value, CommentedMap) or set(value) != {"start", "size"}:
        raise Unfit(
            f"found {_shown(value)}",
            "expected exactly start and size",
            "write it like {start: 0x08020000, size: 128K}",
        )
    start = value["start"]
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start < 1 << 32:
        raise Unfit(
            f"start {_shown(start)}", "expected a 32-bit address", "write it like 0x08020000"
        )
    size = _size(value["size"])
    if not 0 < size < 1 << 32:
        raise Unfit(f"size {size}", "more than 0", "give the area whole sectors of 128K")
    return Span(int(start), size)


def _shown(value: Any) -> str:
    """Return a value as a person wrote it, in at most 40 characters."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    if isinstance(value, CommentedMap):
        text = "{" + ", ".join(str(name) for name in value) + "}"
    text = text.replace("\n", " ")
    return text if len(text) <= 40 else text[:37] + "..."


_TOP_KEYS = {
    "chip": Key(_chip),
    "product": Key(_section),
    "areas": Key(_section),
    "data": Key(_section, default={}),
    "boot_check": Key(
        _choice({"off": BootCheck.OFF, "crc": BootCheck.CRC, "digest": BootCheck.DIGEST}),
        default=BootCheck.CRC,
    ),
    "recovery": Key(_choice({"rom": Recovery.ROM, "none": Recovery.NONE}), default=Recovery.ROM),
    "rdp": Key(_number(0, 2, "a read-out protection level: 0, 1 or 2"), default=0),
    "supply_mv": Key(_millivolts, default=2700),
    "result_record": Key(
        _number(0, 0xFFFF_FFFF, "a RAM address like 0x38000000"), default=0x3800_0000
    ),
    "security_counter": Key(_number(0, 0xFFFF_FFFF, "a number of 32 bits"), default=-1),
}
_PRODUCT_KEYS = {
    "id": Key(_text(r"[a-z0-9][a-z0-9._-]*", "1 to 16 of a-z 0-9 . _ -", 16)),
    "name": Key(_text(r"[ -~]+", "1 to 32 printable ASCII characters", 32)),
}
_AREAS_KEYS = {name: Key(_area) for name in ("loader", "staging", "app", "marks")}
