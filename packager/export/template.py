"""Texts with ``@name@`` in them, filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


def fill(template: Path, values: Mapping[str, str]) -> str:
    """Return the text of a file with every ``@name@`` replaced by its value."""
    text = template.read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)
