"""Reads a layout YAML into plain checked values, remembering where each one stood.

This room knows how YAML marks a place and how a problem is told; what the keys are is in
:mod:`packager.layout_keys`, what the values mean together in :mod:`packager.layout`. YAML 1.2 by
ruamel, so ``no`` is a string, octals need ``0o``, and a duplicate key is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError

from packager.chip import KIB
from packager.errors import LayoutError
from packager.layout_keys import KEYS, REQUIRED, Key, Named, Section
from packager.layout_kinds import Unfit, did_you_mean, shown

MAX_FILE_SIZE = 64 * KIB
"""A layout is a page of text; anything larger is something else."""
EXCERPT_WIDTH = 96
"""Most characters of a line that are shown under a problem."""


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


@dataclass
class Draft:
    """What could be read of a layout file, with the place of every key."""

    path: Path
    lines: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, key: str) -> tuple[int, int]:
        """Return line and column, both from 1, of a key or of the nearest one above it."""
        return self.places.get(self._known(key), (1, 1))

    def _known(self, key: str) -> str:
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return key

    def tell(self, problem: Problem, what: str = "") -> str:
        """Return ``file:line:column: what key: found, expected; do`` above that line."""
        line, column = self.place(problem.key)
        told = f"{self.path}:{line}:{column}: {what}{problem.text()}"
        key = self._known(problem.key)
        below = excerpt(self.lines, line, column, len(key.rpartition(".")[2])) if key else []
        return "\n".join([told, *below])

    def raise_problems(self) -> None:
        """Raise every problem at once, in the order of the file."""
        if not self.problems:
            return
        ordered = sorted(self.problems, key=lambda problem: self.place(problem.key))
        told = tuple(self.tell(problem) for problem in ordered)
        raise LayoutError(str(self.path), f"{len(told)} problems", problems=told)


def excerpt(lines: list[str], line: int, column: int, width: int) -> list[str]:
    """Return a line of the file as it stands there, and carets below one place in it."""
    if not 0 < line <= len(lines):
        return []
    text = "".join(c if c.isprintable() else " " for c in lines[line - 1][:EXCERPT_WIDTH])
    carets = " " * (column - 1) + "^" * max(1, min(width, len(text) - column + 1))
    return [f"{line:>5} | {text}", f"{'':>5} | {carets}"] if column <= len(text) else []


def read_layout_file(path: Path) -> Draft:
    """Read the YAML of a layout; problems of single keys are collected in the draft.

    Raises:
        LayoutError: the file cannot be read or is no YAML mapping at all.
    """
    source = _read_text(path)
    draft = Draft(path, source.splitlines())
    root = _load_yaml(draft, source)
    _read_mapping(draft, "", root, KEYS)
    return draft


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise LayoutError(
            str(path), str(error.strerror), "a layout file", "check the path"
        ) from error
    if len(raw) > MAX_FILE_SIZE:
        raise LayoutError(str(path), "larger than 64 KiB", "a layout file", "check the path")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is not UTF-8"
        raise LayoutError(str(path), found, "a layout file", "save it as UTF-8") from error


def _load_yaml(draft: Draft, source: str) -> CommentedMap:
    path = draft.path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # legal, and nothing to tell
            root = YAML(typ="rt", pure=True).load(source)
    except DuplicateKeyError as error:
        raise _yaml_error(draft, error, "duplicate key", "give every key once") from error
    except MarkedYAMLError as error:
        raise _yaml_error(draft, error, "not YAML", "correct the syntax") from error
    # ruamel lets ValueError & co. through for odd scalars (dates, huge numbers, control bytes).
    except (YAMLError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LayoutError(str(path), f"not YAML ({reason})", "a layout file", "check it") from error
    except (AttributeError, KeyError, IndexError, AssertionError, NotImplementedError) as error:
        raise LayoutError(str(path), "not YAML the reader understands", "a layout file") from error
    if not isinstance(root, CommentedMap):
        raise LayoutError(
            str(path), "no mapping at the top", "keys such as 'chip:'", "start from layouts/"
        )
    return root


def _yaml_error(draft: Draft, error: MarkedYAMLError, found: str, do: str) -> LayoutError:
    detail = (error.problem or "").splitlines()[0] if error.problem else ""
    found = f"{found} ({detail})" if detail else found
    mark = error.problem_mark
    if mark is None:
        return LayoutError(str(draft.path), found, "", do)
    line, column = mark.line + 1, mark.column + 1
    plain = LayoutError(f"{draft.path}:{line}:{column}", found, "", do)
    told = "\n".join([str(plain), *excerpt(draft.lines, line, column, 1)])
    return LayoutError(plain.where, found, "", do, problems=(told,))


def _read_mapping(
    draft: Draft, prefix: str, mapping: CommentedMap, keys: Mapping[str, Key | Section | Named]
) -> None:
    for name in mapping:
        _note_place(draft, prefix, mapping, name)
        if name not in keys:
            draft.problems.append(_unknown(prefix, name, keys))
    for name, key in keys.items():
        if name in mapping:
            _read_value(draft, f"{prefix}{name}", mapping[name], key)
        elif isinstance(key, Section) and not key.is_required:
            _read_mapping(draft, f"{prefix}{name}.", CommentedMap(), key.keys)
        elif isinstance(key, Section) or (isinstance(key, Key) and key.default is REQUIRED):
            draft.problems.append(Problem(f"{prefix}{name}", "missing", "", f"add '{name}:'"))
        elif isinstance(key, Key):
            default = key.default
            draft.values[f"{prefix}{name}"] = None if default is None else key.kind.read(default)


def _read_value(draft: Draft, path: str, value: Any, key: Key | Section | Named) -> None:
    if isinstance(key, Key):
        try:
            draft.values[path] = key.kind.read(value)
        except Unfit as unfit:
            draft.problems.append(Problem(path, *unfit.args))
    elif not isinstance(value, CommentedMap):
        found, do = f"found {shown(value)}", "indent its keys below it"
        draft.problems.append(Problem(path, found, "expected a mapping", do))
    elif isinstance(key, Section):
        _read_mapping(draft, f"{path}.", value, key.keys)
    else:
        _read_names(draft, path, value, key)


def _read_names(draft: Draft, path: str, mapping: CommentedMap, named: Named) -> None:
    for name in mapping:
        _note_place(draft, f"{path}.", mapping, name)
        if named.takes(name):
            _read_value(draft, f"{path}.{name}", mapping[name], Key(named.kind, named.doc))
        else:
            problem = Problem(f"{path}.{name}", f"name {shown(name)}", named.wanted, "rename it")
            draft.problems.append(problem)


def _note_place(draft: Draft, prefix: str, mapping: CommentedMap, name: Any) -> None:
    place = (mapping.lc.data or {}).get(name)  # a key that came by '<<' has none
    if place is not None:
        draft.places[f"{prefix}{name}"] = (place[0] + 1, place[1] + 1)


def _unknown(prefix: str, name: Any, keys: Iterable[str]) -> Problem:
    do = did_you_mean(str(name), keys) or "remove it"
    return Problem(f"{prefix}{name}", "unknown key", f"known are {', '.join(keys)}", do)
