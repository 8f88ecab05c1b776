"""What a person does so that a computer can talk to a device: driver, rights, cable."""

from __future__ import annotations

UDEV_FILE = "/etc/udev/rules.d/60-splitflash.rules"
"""Sorted before 73-seat-late.rules, or TAG+="uaccess" comes too late."""
UDEV_RULE = (
    'SUBSYSTEM=="usb", ATTR{idVendor}=="0483", ATTR{idProduct}=="df11", TAG+="uaccess", '
    'MODE="0660", GROUP="plugdev"'
)
PERMISSION_DO = (
    f"on Linux install a udev rule: write the line  {UDEV_RULE}  into {UDEV_FILE} (as root), run "
    "'sudo udevadm control --reload', plug the device in again; over ssh your user must be in the "
    "group plugdev"
)
DRIVER_DO = (
    "on Windows install ST's signed driver (it comes with STM32CubeProgrammer: pnputil /add-driver "
    "STM32Bootloader.inf /install, once as administrator), then plug the device in again; the old "
    "driver STTub30 of DfuSeDemo does not do"
)
LIBUSB_DO = (
    "run 'pip install libusb-package', or install libusb-1.0 with your system's package manager; "
    "in a container or a virtual machine, pass USB into it"
)
BUSY_DO = "close STM32CubeProgrammer, dfu-util and browser pages that use it"
NO_DEVICE_DO = (
    "set BOOT0 high, plug the device in (some need a press of reset after that), check that the "
    "cable carries data, try without a hub, and see that no other program holds the device; a "
    "read-protected product wants no BOOT0: bring it into its loader's DFU as its maker says "
    "(often: press reset twice)"
)
