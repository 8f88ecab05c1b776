"""Reads the serials of a production run from a CSV file: strictly, one line of error at a time."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packager.dfu.pipe import Progress, silent
from packager.errors import FormatError
from packager.files import read_file

COLUMN = "serial"
MAX_SERIAL = 64
"""Characters of one serial."""
MAX_SERIALS = 100_000
"""Rows of one file; more of them are several production runs."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Serials(NamedTuple):
    """The serials in the order of the file, and the columns that were not looked at."""

    serials: tuple[str, ...]
    ignored: tuple[str, ...]


def read_serials(path: Path, progress: Progress = silent) -> Serials:
    """Read the column ``serial`` of a CSV file (RFC 4180, UTF-8, its first row names the columns).

    A byte order mark of UTF-8 may stand in front, where spreadsheets put it.

    Raises:
        FormatError: with the line, ``file:line: found, expected; do``.
    """
    text = _text(read_file(path), path)
    rows = _rows(text, path)
    line, header = next(rows, (1, []))
    column = _column(header, f"{path}:{line}")
    lines = len(text.splitlines())
    seen: dict[str, int] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        serial = _serial(row, column, len(header), where)
        if serial in seen:
            found = f"serial '{serial}' again"
            raise FormatError(where, found, f"it is in line {seen[serial]} too", "remove one")
        if len(seen) == MAX_SERIALS:
            found, expected = "one serial more", f"expected at most {MAX_SERIALS}"
            raise FormatError(where, found, expected, "make a file for each production run")
        seen[serial] = line
        progress("serials", min(line, lines), lines)
    if not seen:
        raise FormatError(str(path), "no serials", "expected one a row", "add them below 'serial'")
    progress("serials", lines, lines)
    return Serials(tuple(seen), tuple(name for name in header if name != COLUMN))


def check_serial(serial: str, where: str) -> None:
    """Return only for a serial that can stand on a label and in a manifest.

    Raises:
        FormatError: blank, too long, or with characters that do not print.
    """
    do = "correct the serial"
    if not serial.strip():
        raise FormatError(where, "blank serial", "expected one in every row", "remove the row")
    if len(serial) > MAX_SERIAL:
        found = f"serial of {len(serial)} characters"
        raise FormatError(where, found, f"expected at most {MAX_SERIAL}", do)
    odd = next((mark for mark in serial if not mark.isprintable()), None)
    if odd is not None:
        found = f"control character U+{ord(odd):04X} in a serial"
        raise FormatError(where, found, "expected characters that print", do)
    if serial != serial.strip():
        raise FormatError(where, "serial with a space around it", "expected none", do)


def _text(data: bytes, path: Path) -> str:
    if data.startswith(_UTF_16):
        found = "begins with the byte order mark of UTF-16"
        raise FormatError(f"{path}:1", found, "expected UTF-8", "save it as CSV UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02X} is no UTF-8"
        raise FormatError(f"{path}:{line}", found, "expected UTF-8", "save it so") from error


def _rows(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line it begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where, expected = f"{path}:{line}", "expected values between commas (RFC 4180)"
            raise FormatError(where, f"damaged CSV ({error})", expected, "correct it") from error
        yield line, row


def _column(header: list[str], where: str) -> int:
    count = header.count(COLUMN)
    if count != 1:
        found = f"{count} columns '{COLUMN}'" if count else f"no column '{COLUMN}'"
        names = ", ".join(ascii(name[:MAX_SERIAL]) for name in header[:8]) or "nothing"
        expected = f"the first row names {names}"
        raise FormatError(where, found, expected, f"name one column '{COLUMN}', between commas")
    return header.index(COLUMN)


def _serial(row: list[str], column: int, columns: int, where: str) -> str:
    if not row:
        raise FormatError(where, "empty line", "expected a row", "remove it")
    if len(row) != columns:
        found = f"{len(row)} values"
        raise FormatError(where, found, f"expected {columns} as in the first row", "correct it")
    check_serial(row[column], where)
    return row[column]
