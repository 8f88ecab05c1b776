"""How a customer brings a device to where it takes an update, and back: the words of a kit."""

from __future__ import annotations

from typing import NamedTuple

from packager.format import Recovery
from packager.layout import Layout


class WayIn(NamedTuple):
    """What the texts of a kit say about one way; files are names in ``templates/``."""

    enter: str
    leave: str
    enter_again: str
    then: tuple[str, ...]
    """What to do after the update was written, from the second point on."""
    not_found: str
    go_on: str
    still_silent: str
    asked: str


_PLUG_IN = "Plug it in again, and leave it plugged in."

ROM = WayIn(
    enter="howto-enter-rom.html",
    leave="howto-leave-rom.html",
    enter_again="Unplug the device, set BOOT0 to ON, plug it in again,",
    then=("Set BOOT0 to OFF.", _PLUG_IN),
    not_found="BOOT0 must be ON <em>before</em> you plug in. Unplug, wait five seconds, plug in"
    " again; if there is\na reset button, press it once.",
    go_on="Plug in again with BOOT0 at OFF.",
    still_silent="Is BOOT0 at OFF? ",
    asked="With BOOT0 at ON",
)


def _own(how: str, not_found: str) -> WayIn:
    return WayIn(
        enter=f"howto-enter-{how}.html",
        leave="howto-leave-loader.html",
        enter_again="Do steps 1 to 3 of HOWTO.html,",
        then=(_PLUG_IN,),
        not_found=not_found,
        go_on="Plug in again.",
        still_silent="",
        asked="After step 3",
    )


PIN = _own("pin", "The button must be held <em>before</em> you plug in. Begin again at step 1.")
RESET = _own(
    "reset",
    "Press the reset button twice once more, quicker or slower; its first press may only have"
    " started the device.",
)
APP = _own("app", "Begin again at step 1, and look into the manual of the device for step 3.")


def way_in(layout: Layout | None) -> WayIn:
    """Return the way into a product; without a layout it is thought to be the ROM's."""
    if layout is None or layout.recovery is not Recovery.DFU:
        return ROM
    if layout.entry.pin is not None:
        return PIN
    return RESET if layout.entry.double_reset else APP
