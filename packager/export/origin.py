"""By what an exported file says what it was made of, and whether it is still what would be made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from packager import __version__
from packager.errors import FormatError
from packager.layout import Layout


def made_by(layout: Layout) -> str:
    """Return the sentence for the first line of an exported file."""
    return (
        f"Made by splitflash {__version__} from {layout.path.name},"
        f" layout id {layout.layout_id.hex()}; change the layout, not this file."
    )


def must_be_current(
    directory: Path, contents: Mapping[str, bytes], layout: Layout, command: str
) -> None:
    """Return only if every file is in the folder just as it would be written now.

    Raises:
        FormatError: one is missing or differs; ``command`` would write it.
    """
    for name, expected in contents.items():
        path = directory / name
        found = path.read_bytes() if path.is_file() else b""
        if found != expected:
            problem = "differs from" if found else "is missing for"
            raise FormatError(
                str(path),
                f"{problem} {layout.path.name}",
                f"expected the export of layout id {layout.layout_id.hex()}",
                f"run: {command}",
            )
