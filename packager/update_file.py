"""An update in a file: ``.hex`` for every tool, ``.bin`` as in staging, ``.dfu`` for dfu-util.

All three carry the same bytes; which one a file is, its content says, not its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from packager.errors import FormatError, PackagerError
from packager.files import read_file, refuse_to_replace, write_atomic
from packager.format import (
    HEADER_SIZE,
    UpdateHeader,
    field_text,
    pad_to_flash_word,
    parse_header,
    version_text,
)
from packager.segments import fill
from packager.sniff import content_of
from packager.update import check_header, header_field, header_number, trimmed

FORMS = ("hex", "bin", "dfu")
"""Every form, the one that most tools take first."""


class UpdateFile(NamedTuple):
    """An update as it was read: ``data`` in whole flash words, the form, and where it belongs."""

    data: bytes
    form: str
    address: int

    @property
    def header(self) -> UpdateHeader:
        """The header, not authenticated.

        Raises:
            FormatError: it has fields that this version does not know.
        """
        return parse_header(self.data[:HEADER_SIZE])


def write_update(path: Path, update: bytes) -> None:
    """Write an update in the form that the name ends in; whole or not at all.

    Raises:
        FormatError: the name ends in none of the forms.
        PackagerError: the file cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        found = f"name ends in '{path.suffix}'"
        raise FormatError(str(path), found, "expected .hex, .bin or .dfu", "rename the output")
    write_atomic(path, encode(update, form))


def write_all_forms(directory: Path, update: bytes) -> list[Path]:
    """Write an update in every form as ``PRODUCT-VERSION.update.FORM``; return the paths.

    Raises:
        PackagerError: the folder cannot be made, or a file not written; if one of the names is
            taken by something that is not replaced, none is written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"cannot be made ({error.strerror})"
        raise PackagerError(str(directory), found, "expected a folder", "check the path") from error
    paths = [directory / f"{default_stem(update)}.{form}" for form in FORMS]
    for path in paths:
        refuse_to_replace(path)
    for path in paths:
        write_update(path, update)
    return paths


def default_stem(update: bytes) -> str:
    """Return ``PRODUCT-VERSION.update``, the usual file name without its form."""
    product = field_text(header_field(update, "product_id"))
    return f"{product}-{version_text(header_number(update, 'version'))}.update"


def encode(update: bytes, form: str) -> bytes:
    """Return the file content of an update in one form, read back and compared.

    Raises:
        PackagerError: it does not read back as the same update (a bug).
    """
    address = header_number(update, "staging_address")
    if form == "hex":
        from packager.hex_file import write_hex

        data = write_hex({address: update})
    elif form == "dfu":
        from packager.dfuse_file import write_dfuse

        data = write_dfuse(address, update)
    else:
        data = update
    if decode(data).data != update:
        raise PackagerError(
            f".{form} file", "reads back differently", "expected itself", "report this"
        )
    return data


def read_update_file(path: Path) -> UpdateFile:
    """Read an update from a file of any form.

    Raises:
        FormatError: not an update, truncated, or with something else behind it.
    """
    return decode(read_file(path), str(path))


def decode(data: bytes, where: str = "update") -> UpdateFile:
    """Return the update in the content of a file of any form; nothing of it is authenticated.

    Raises:
        FormatError: not an update, truncated, or with something else behind it.
    """
    if content_of(data) == "update":
        update, form, address = data, "bin", None
    else:
        form, pieces = _pieces(data, where)
        address, update = _one_run(pieces, where)
    check_header(update, where=where)
    home = header_number(update, "staging_address")
    if address is not None and address != home:
        raise FormatError(
            where,
            f"update placed at 0x{address:08X}",
            f"it belongs at 0x{home:08X}",
            "pack it again",
        )
    return UpdateFile(_whole(update, where), form, home)


def _pieces(data: bytes, where: str) -> tuple[str, dict[int, bytes]]:
    content = content_of(data)
    if content == "dfu":
        from packager.dfuse_file import read_dfuse

        return "dfu", read_dfuse(data, where)
    if content == "hex":
        from packager.hex_file import read_hex

        return "hex", read_hex(data, where)
    raise FormatError(
        where,
        "no update",
        "expected an update as .hex, .bin or .dfu",
        "use a file made by splitflash pack",
    )


def _one_run(pieces: dict[int, bytes], where: str) -> tuple[int, bytes]:
    if len(pieces) > 1:
        found = f"{len(pieces)} separate pieces of data"
        raise FormatError(where, found, "expected one", "use a file made by splitflash pack")
    return fill(pieces)


def _whole(update: bytes, where: str) -> bytes:
    """Return the update in whole flash words; what follows it may only be blank."""
    body = trimmed(update)
    expected = HEADER_SIZE + header_number(update, "payload_size")
    if len(body) < expected:
        found = f"truncated, {len(body)} bytes"
        raise FormatError(where, found, f"expected {expected}", "copy or download the file again")
    rest = update[expected:]
    if rest.strip(b"\xff"):
        found = f"{len(rest)} bytes behind the update"
        raise FormatError(
            where, found, "expected nothing or 0xFF", "use a file made by splitflash pack"
        )
    return pad_to_flash_word(body)
