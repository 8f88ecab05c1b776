"""Intel HEX in and out."""

from __future__ import annotations

from io import StringIO

from intelhex import AddressOverlapError, HexReaderError, IntelHex

from packager.errors import FormatError
from packager.segments import join


def write_hex(pieces: dict[int, bytes]) -> bytes:
    """Return Intel HEX text, 16 bytes to a record, with extended linear addresses."""
    hex_image = IntelHex()
    for address, data in pieces.items():
        hex_image.frombytes(data, offset=address)
    text = StringIO()
    hex_image.write_hex_file(text, eolstyle="native")
    return text.getvalue().encode("ascii")


def read_hex(data: bytes, where: str) -> dict[int, bytes]:
    """Return the pieces of an Intel HEX file, touching records joined.

    Raises:
        FormatError: a damaged record (with its line), overlap, no end record, or no data.
    """
    do = "build or copy the file again"
    lines = [line.strip() for line in data.splitlines()]
    ends = [number for number, line in enumerate(lines, start=1) if _is_end_record(line)]
    last = max((number for number, line in enumerate(lines, start=1) if line), default=0)
    if ends != [last]:
        found = "no end-of-file record" if not ends else f"end-of-file record in line {ends[0]}"
        raise FormatError(where, found, "expected one at the end of Intel HEX", do)
    hex_image = IntelHex()
    try:
        hex_image.loadhex(StringIO(b"\n".join(lines).decode("ascii")))
    except UnicodeDecodeError as error:
        raise FormatError(where, "not plain text", "expected Intel HEX", do) from error
    except (HexReaderError, AddressOverlapError) as error:
        raise FormatError(where, f"damaged Intel HEX ({error})", "", do) from error
    pieces = [
        (start, bytes(hex_image.tobinarray(start=start, end=end - 1)))
        for start, end in hex_image.segments()
    ]
    if not pieces:
        raise FormatError(where, "no data in this Intel HEX file", "", do)
    return join(pieces, where)


def _is_end_record(line: bytes) -> bool:
    return line[7:9] == b"01" and line.startswith(b":00")
