"""Every error of splitflash, by who has to act, each with its exit code.

    PackagerError                  1   anything else of ours
    |-- LayoutError                3   the developer edits the layout YAML
    |-- FormatError                4   the file is not (any longer) what it should be
    |-- ImageError                 5   the application image does not fit this layout
    |-- AuthenticationError        6   wrong key, or the update was altered
    |-- KeyFileError               7   a key file is missing, in the wrong place or unsafe
    |-- RefusedError               8   an authentic update that this device or layout must not take
    |-- BuildError                 9   toolchain or sources needed to build the loader
    |-- DeviceError               10   cable, mode or device
    |   |-- NoDeviceError         11   nothing found that we could talk to
    |   |-- SeveralDevicesError   12   more than one, and we do not guess
    |   |-- PermissionOrDriverError 13 the operating system does not let us talk to it
    |   |-- ProtectedError        14   read-protected device
    |   |-- VerifyMismatchError   15   read-back differs from what was, or should have been, written
    |   |-- DeviceTimeoutError    16   the device did not answer within its deadline
    |   |-- SomeFailedError       17   several devices at once, and not all of them took it
    |   `-- OutsideStagingError   18   the update does not fit the staging area of the device
    `-- SimulationFault           20   the program under test did something the chip forbids

Exit code 2 is click's (wrong usage), 130 is Ctrl-C.
"""

from __future__ import annotations


class PackagerError(Exception):
    """An error a person can act on: ``where: found, expected; do``."""

    exit_code = 1

    def __init__(self, where: str, found: str, expected: str = "", do: str = "") -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.do = do
        super().__init__(where, found, expected, do)

    def __str__(self) -> str:
        text = f"{self.where}: {self.found}"
        if self.expected:
            text += f", {self.expected}"
        if self.do:
            text += f"; {self.do}"
        return text


class LayoutError(PackagerError):
    """The layout file breaks one or more rules; ``problems`` holds every one, a line each."""

    exit_code = 3

    def __init__(
        self,
        where: str,
        found: str,
        expected: str = "",
        do: str = "",
        problems: tuple[str, ...] = (),
    ) -> None:
        super().__init__(where, found, expected, do)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems) if self.problems else super().__str__()


class FormatError(PackagerError):
    """A file or record does not follow its format."""

    exit_code = 4


class ImageError(PackagerError):
    """An application image that cannot run where the layout puts it."""

    exit_code = 5


class AuthenticationError(PackagerError):
    """A signature, tag or digest does not verify."""

    exit_code = 6


class KeyFileError(PackagerError):
    """A key file is missing, damaged, unsafe, or the wrong half in the wrong place."""

    exit_code = 7


class RefusedError(PackagerError):
    """An authentic update that must not be installed here (product, chip, layout, counter)."""

    exit_code = 8


class BuildError(PackagerError):
    """The loader or a sample application could not be built."""

    exit_code = 9


class DeviceError(PackagerError):
    """Talking to the device failed."""

    exit_code = 10


class NoDeviceError(DeviceError):
    """No device in DFU mode was found."""

    exit_code = 11


class SeveralDevicesError(DeviceError):
    """Several devices fit; we do not guess."""

    exit_code = 12


class PermissionOrDriverError(DeviceError):
    """The operating system refuses access to the device (udev rule, driver)."""

    exit_code = 13


class ProtectedError(DeviceError):
    """The device is read-protected."""

    exit_code = 14


class VerifyMismatchError(DeviceError):
    """What was read back differs from what was written, or from a factory image."""

    exit_code = 15


class DeviceTimeoutError(DeviceError):
    """The device did not finish within its deadline."""

    exit_code = 16


class SomeFailedError(DeviceError):
    """A command for several devices did not succeed on all of them."""

    exit_code = 17


class OutsideStagingError(DeviceError):
    """Something would lie outside the staging area; nothing was changed."""

    exit_code = 18


class SimulationFault(PackagerError):
    """The program on the virtual board did something the chip forbids."""

    exit_code = 20


def as_ours(where: str, error: Exception) -> PackagerError:
    """Return an error of ours for whatever went wrong at ``where``, so that others can go on."""
    if isinstance(error, PackagerError):
        return error
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        found = f"{place}{error.strerror or error}"
        return PackagerError(where, found, "", "check the path and its permissions")
    return PackagerError(where, f"{type(error).__name__}: {error}", "", "report this")
