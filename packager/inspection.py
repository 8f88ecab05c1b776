"""What an update file says of itself, for people and machines; reads no keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packager.format import FORMAT_VERSION, HEADER_SIZE, field_text, version_text
from packager.update import update_id
from packager.update_file import read_update_file

_AS_HEX = ("chip", "app_address", "staging_address", "flags")
"""Numbers that people read in hexadecimal."""


def describe(path: Path) -> dict[str, Any]:
    """Return the file and every header field by its name; bytes as hexadecimal text.

    Raises:
        FormatError: not an update, or with fields this version does not know.
    """
    found = read_update_file(path)
    values: dict[str, Any] = {
        "file": str(path),
        "form": found.form,
        "update_size": len(found.data),
        "update_id": update_id(found.data).hex(),
        "format_version": FORMAT_VERSION,
        "header_size": HEADER_SIZE,
    }
    for name, value in found.header._asdict().items():
        values[name] = value.hex() if isinstance(value, bytes) else value
    values["product_id"] = field_text(found.header.product_id)
    values["version"] = version_text(found.header.version)
    values["recipients"] = [entry.key_id.hex() for entry in found.header.recipients]
    return values


def as_text(name: str, value: Any) -> str:
    """Return a value of :func:`describe` as people write it."""
    if name in _AS_HEX:
        return f"0x{value:08X}"
    return ", ".join(value) if isinstance(value, list) else str(value)
