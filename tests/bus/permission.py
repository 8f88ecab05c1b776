"""Device nodes that may not be opened."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .conftest import missing


def as_a_mortal() -> tuple[str, ...]:
    """Return what goes before a command so that permissions count for it, for root too."""
    if os.geteuid():
        return ()
    if shutil.which("setpriv") is None:
        missing("setpriv is not installed, and root may open everything")
    return "setpriv", "--bounding-set=-dac_override,-dac_read_search"


@contextmanager
def closed(node: Path) -> Iterator[None]:
    """Take a device node's permissions away for a while."""
    mode = node.stat().st_mode
    node.chmod(0)
    try:
        yield
    finally:
        node.chmod(mode)
