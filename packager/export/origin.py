"""The line by which an exported file says what it was made of."""

from __future__ import annotations

from packager import __version__
from packager.layout import Layout


def made_by(layout: Layout) -> str:
    """Return the sentence for the first line of an exported file."""
    return (
        f"Made by splitflash {__version__} from {layout.path.name},"
        f" layout id {layout.layout_id.hex()}; change the layout, not this file."
    )
