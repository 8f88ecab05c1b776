"""What a DfuSe device answers to GETSTATUS, and what each answer means for a person."""

from __future__ import annotations

from dataclasses import dataclass

from packager.dfu.constants import State, Status
from packager.errors import DeviceError, DeviceTimeoutError, ProtectedError

LOADER_AGAIN = (
    "bring the device into its loader's DFU again (as its maker says; often by pressing reset "
    "twice) and repeat the command; nothing is lost"
)
"""What to do at a device whose own loader answers: its BOOT0 is of no use."""
REPLUG = "unplug the device, plug it in again with BOOT0 high and repeat the command"
PROTECTED_FOUND = "this device is read-protected (errVENDOR: RDP level 1)"
PROTECTED_DO = (
    "do NOT let any tool disable the protection ('read unprotect', 'RDP 0'), that erases the whole "
    "chip, loader and keys included; such a product takes updates without BOOT0, through its own "
    "loader or its application: set BOOT0 low, plug it in as its maker says (often: press reset "
    "twice) and drop again"
)

_ADDRESS_DO = "the address is not one this device takes; check the update and the device"
_SUPPLY_DO = "check the supply of the device and repeat the command"
_ADVICE = {
    Status.ERR_TARGET: _ADDRESS_DO,
    Status.ERR_ADDRESS: _ADDRESS_DO,
    Status.ERR_ERASE: _SUPPLY_DO,
    Status.ERR_PROG: _SUPPLY_DO,
    Status.ERR_WRITE: _SUPPLY_DO,
}


@dataclass(frozen=True)
class StatusReply:
    """An answer to GETSTATUS."""

    status: Status
    state: State
    poll_seconds: float

    def __str__(self) -> str:
        status = self.status.name.replace("ERR_", "err")
        state = self.state.name.replace("DFU_", "dfu").replace("_", "-")
        return f"status {status} in {state}"


def read_reply(data: bytes, where: str, again: str = REPLUG) -> StatusReply:
    """Read the six bytes of GETSTATUS.

    Raises:
        DeviceError: they are none.
    """
    try:
        status, state = Status(data[0]), State(data[4])
    except (IndexError, ValueError):
        raise DeviceError(
            where, f"GETSTATUS answered {data.hex()}", "expected 6 bytes of DFU", again
        ) from None
    return StatusReply(status, state, int.from_bytes(data[1:4], "little") / 1000)


class RequestRefusedError(DeviceError):
    """The device answered a request with an error; ``reply`` holds status and state."""

    def __init__(
        self,
        where: str,
        found: str,
        expected: str = "",
        do: str = "",
        reply: StatusReply | None = None,
    ) -> None:
        super().__init__(where, found, expected, do)
        self.reply = reply


def refusal(where: str, reply: StatusReply, again: str = REPLUG) -> DeviceError:
    """Return the error that an error status stands for."""
    if reply.status is Status.ERR_VENDOR:
        return ProtectedError(where, PROTECTED_FOUND, "", PROTECTED_DO)
    do = _ADVICE.get(reply.status, again)
    return RequestRefusedError(where, f"refused with {reply}", "", do, reply)


def still_busy(where: str, seconds: float, again: str = REPLUG) -> DeviceTimeoutError:
    """Return the error of a device that was waited for long enough."""
    return DeviceTimeoutError(
        where,
        f"the device is still busy (dfuDNBUSY) after {seconds:.0f} s",
        "no real operation takes that long",
        again,
    )


def no_answer(where: str, request: str, seconds: float, again: str = REPLUG) -> DeviceTimeoutError:
    """Return the error of a device that did not answer a request at all."""
    return DeviceTimeoutError(
        where,
        f"no answer to {request} within {seconds:.0f} s",
        "the device hangs or the cable is bad",
        again,
    )
