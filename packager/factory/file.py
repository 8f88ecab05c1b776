"""Reads a factory image back: which loader, application and records a new device holds.

The file holds the device key, and so does what is read here: nothing of it is printed but ids.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from packager import crypto
from packager.errors import FormatError
from packager.factory import blank_word, check_loader
from packager.files import read_file
from packager.format import RECORD_SIZE
from packager.hex_file import read_hex
from packager.layout import Layout
from packager.loader_file import LoaderFile, loader_of
from packager.records import MarkRecord, RecordType, parse_record

FACTORY_LIMIT = 8 << 20
"""Bytes: 2 MiB of flash as Intel HEX is 5.6 MiB."""
AREAS = ("loader", "app", "marks")
"""What a factory image fills, each from its first byte on."""
_DO = "give the file made by 'splitflash factory build'"


@dataclass(frozen=True)
class FactoryFile:
    """A factory image that fits a layout; ``content`` by the name of the area it begins."""

    name: str
    sha256: bytes
    """Of the file as it lies on the disk."""
    loader: LoaderFile
    record: MarkRecord
    """What the device is at: version, counter, size and digest of the image."""
    content: dict[str, bytes]


def read_factory(path: Path, layout: Layout) -> FactoryFile:
    """Read a factory image and see that its parts fit each other and the layout.

    Raises:
        FormatError: no factory image, or a damaged one.
        RefusedError: one of another layout, or with a development loader.
    """
    where = str(path)
    data = read_file(path, FACTORY_LIMIT)
    content = _by_area(read_hex(data, where), layout, where)
    try:
        loader = loader_of({layout.loader.start: content["loader"]}, where)
        record = parse_record(content["marks"][:RECORD_SIZE], where)
    except FormatError as error:
        raise FormatError(where, error.found, "expected a factory image", _DO) from error
    check_loader(loader, layout)
    image = content["app"][: record.image_size]
    if record.type is not RecordType.INSTALLED or crypto.digest(image) != record.image_digest:
        found = "its record is not that of its application"
        raise FormatError(where, found, "expected the same image", _DO)
    return FactoryFile(where, hashlib.sha256(data).digest(), loader, record, content)


def _by_area(pieces: dict[int, bytes], layout: Layout, where: str) -> dict[str, bytes]:
    """Return what each area begins with; nothing may lie anywhere else."""
    starts = {layout.areas[name].start: name for name in AREAS}
    content: dict[str, bytes] = {}
    blank = blank_word(b"", layout)
    for address, data in pieces.items():
        if blank.get(address) == data:
            continue
        name = starts.get(address)
        if name is None or len(data) > layout.areas[name].size:
            found = f"{len(data)} bytes at 0x{address:08X}"
            expected = f"expected loader, app and marks of {layout.path.name} and nothing else"
            raise FormatError(where, found, expected, f"{_DO}, and its layout")
        content[name] = data
    for name in AREAS:
        if name not in content:
            found = f"nothing at 0x{layout.areas[name].start:08X}"
            raise FormatError(where, found, f"expected the {name} of {layout.path.name}", _DO)
    return content
