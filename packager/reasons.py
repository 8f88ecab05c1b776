"""Why an update is refused: one enum for the loader, the host tool and the documents.

The numbers are stored in flash (mark records) and handed to the application (result record), so
they never change meaning. The C enum in ``mcu_loader/format.h`` is generated from here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Reason(IntEnum):
    """Reason code of a refusal; 0 means nothing was refused."""

    NONE = 0
    FORMAT_VERSION = 1
    HEADER_SIZE = 2
    SIZES = 3
    UNKNOWN_SIGNING_KEY = 4
    SIGNATURE = 5
    RESERVED_NOT_ZERO = 6
    PRODUCT = 7
    CHIP = 8
    LAYOUT = 9
    ADDRESS = 10
    COMPRESSION = 11
    COUNTER_TOO_OLD = 12
    VERSION_TOO_OLD = 13
    UNKNOWN_RECIPIENT = 14
    KEY_AGREEMENT = 15
    PAYLOAD_DIGEST = 16
    CHUNK_TAG = 17
    IMAGE_DIGEST = 18
    IMAGE_VECTORS = 19
    STAGING_UNREADABLE = 20
    KEYS_UNUSABLE = 21
    MARKS_FULL = 22
    ALREADY_INSTALLED = 23
    FLASH_FAILED = 24


class Explanation(NamedTuple):
    """What a reason means, and what a person can do."""

    meaning: str
    do: str


_PACK_AGAIN = "pack the update again with the layout and keys of this product"
_FETCH_AGAIN = "write the update file again; if it is refused again, fetch a fresh copy of the file"

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.NONE: Explanation("nothing was refused", "nothing to do"),
    Reason.FORMAT_VERSION: Explanation(
        "the update uses a format this loader does not know",
        "pack it with a splitflash whose format matches the loader",
    ),
    Reason.HEADER_SIZE: Explanation(
        "the header does not have the size of its format", _FETCH_AGAIN
    ),
    Reason.SIZES: Explanation(
        "image, payload and chunk sizes do not fit each other or the flash areas", _PACK_AGAIN
    ),
    Reason.UNKNOWN_SIGNING_KEY: Explanation(
        "the update is signed by a key this loader does not trust",
        "sign it with a key whose verify key was built into the loader",
    ),
    Reason.SIGNATURE: Explanation(
        "the signature does not verify: the header was altered or damaged", _FETCH_AGAIN
    ),
    Reason.RESERVED_NOT_ZERO: Explanation(
        "a reserved field is used: the update needs a newer loader",
        "pack it with a splitflash whose format matches the loader",
    ),
    Reason.PRODUCT: Explanation(
        "the update is for another product", "use the file of this product"
    ),
    Reason.CHIP: Explanation("the update is for another chip", "use the file of this product"),
    Reason.LAYOUT: Explanation(
        "the update was packed with another flash layout than the loader's", _PACK_AGAIN
    ),
    Reason.ADDRESS: Explanation(
        "the update names other app or staging addresses than the loader's", _PACK_AGAIN
    ),
    Reason.COMPRESSION: Explanation(
        "the image is compressed in a way this loader does not know",
        "pack it without compression",
    ),
    Reason.COUNTER_TOO_OLD: Explanation(
        "the security counter is below the floor of this device (downgrade)",
        "use a newer update",
    ),
    Reason.VERSION_TOO_OLD: Explanation(
        "same security counter as installed but a lower version (downgrade)",
        "use a newer update, or pack this one with --allow-downgrade",
    ),
    Reason.UNKNOWN_RECIPIENT: Explanation(
        "the update is not encrypted for a device key of this loader",
        "pack it for the batch of this device, with its public half in public/",
    ),
    Reason.KEY_AGREEMENT: Explanation(
        "the content key cannot be unwrapped with this device key", _PACK_AGAIN
    ),
    Reason.PAYLOAD_DIGEST: Explanation(
        "the payload in staging is incomplete or altered", _FETCH_AGAIN
    ),
    Reason.CHUNK_TAG: Explanation("a chunk of the payload does not authenticate", _FETCH_AGAIN),
    Reason.IMAGE_DIGEST: Explanation(
        "the decrypted image does not have the signed digest", _PACK_AGAIN
    ),
    Reason.IMAGE_VECTORS: Explanation(
        "the image has no plausible vector table (initial SP, reset handler)",
        "link the application for the app area and pack it again",
    ),
    Reason.STAGING_UNREADABLE: Explanation(
        "staging holds flash words that cannot be read (torn by a power cut)", _FETCH_AGAIN
    ),
    Reason.KEYS_UNUSABLE: Explanation(
        "a key in the loader is blank or a published test key; such a loader installs nothing",
        "build the loader with keys of your own",
    ),
    Reason.MARKS_FULL: Explanation(
        "the marks sector is full and could not be compacted",
        "the installed application goes on running; report the device",
    ),
    Reason.ALREADY_INSTALLED: Explanation(
        "this very update is installed already and its app verifies", "nothing to do"
    ),
    Reason.FLASH_FAILED: Explanation(
        "a flash sector could not be erased, programmed or read back",
        "check the supply voltage and write the update again; the flash may be worn out",
    ),
}
