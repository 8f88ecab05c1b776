"""Numbers of DFU 1.1 and DfuSe (AN3156); values only, no behaviour.

The client and the virtual ROM share these values and nothing else, so that a misreading of the
protocol shows as a disagreement between them.
"""

from __future__ import annotations

from enum import IntEnum

VENDOR_ID = 0x0483
LOADER_RELEASE = 0x5346
"""bcdDevice of a splitflash loader's own DFU ("SF"), whatever its ids; the ROM has 0x0200."""
PRODUCT_ID = 0xDF11

REQUEST_OUT = 0x21
"""bmRequestType: host to device, class, interface."""
REQUEST_IN = 0xA1
"""bmRequestType: device to host, class, interface."""


class Request(IntEnum):
    """bRequest (DFU 1.1 table 3.2)."""

    DETACH = 0
    DNLOAD = 1
    UPLOAD = 2
    GETSTATUS = 3
    CLRSTATUS = 4
    GETSTATE = 5
    ABORT = 6


class State(IntEnum):
    """bState (DFU 1.1 section 6.1.2)."""

    APP_IDLE = 0
    APP_DETACH = 1
    DFU_IDLE = 2
    DFU_DNLOAD_SYNC = 3
    DFU_DNBUSY = 4
    DFU_DNLOAD_IDLE = 5
    DFU_MANIFEST_SYNC = 6
    DFU_MANIFEST = 7
    DFU_MANIFEST_WAIT_RESET = 8
    DFU_UPLOAD_IDLE = 9
    DFU_ERROR = 10


class Status(IntEnum):
    """bStatus (DFU 1.1 section 6.1.2)."""

    OK = 0
    ERR_TARGET = 1
    ERR_FILE = 2
    ERR_WRITE = 3
    ERR_ERASE = 4
    ERR_CHECK_ERASED = 5
    ERR_PROG = 6
    ERR_VERIFY = 7
    ERR_ADDRESS = 8
    ERR_NOTDONE = 9
    ERR_FIRMWARE = 10
    ERR_VENDOR = 11
    ERR_USBR = 12
    ERR_POR = 13
    ERR_UNKNOWN = 14
    ERR_STALLEDPKT = 15


class Command(IntEnum):
    """First byte of a DfuSe command (DNLOAD with wValue 0)."""

    GET = 0x00
    SET_ADDRESS = 0x21
    ERASE = 0x41
    READ_UNPROTECT = 0x92


FIRST_DATA_BLOCK = 2
"""wValue of the block at the address pointer; block n lies at pointer + (n - 2) * wTransferSize."""
