"""What a file is, by its first bytes; names lie."""

from __future__ import annotations

from typing import Literal

from packager.format import UPDATE_MAGIC

Content = Literal["elf", "hex", "dfu", "update", "other"]
HEAD_SIZE = 64
"""Bytes of a file that are enough to tell."""

_MAGICS: tuple[tuple[bytes, Content], ...] = (
    (b"\x7fELF", "elf"),
    (b"DfuSe", "dfu"),
    (UPDATE_MAGIC, "update"),
)


def content_of(data: bytes) -> Content:
    """Name the content; plain binaries are ``other``.

    A plain application image is never taken for another: its first byte is the lowest of a stack
    pointer, a multiple of 8, which 0x7F, ``D``, ``S``, ``:`` and the line ends are not; a blank
    or tab before the colon could be one, so only whole lines may come before it.
    """
    for magic, content in _MAGICS:
        if data.startswith(magic):
            return content
    return "hex" if data[:HEAD_SIZE].lstrip(b"\r\n").startswith(b":") else "other"
