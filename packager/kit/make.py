"""From an update file to a kit: what ``splitflash kit`` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packager.kit.bundle import write_kit
from packager.kit.contents import Kit, kit_files, plan_kit
from packager.layout import Layout, load_layout
from packager.update_file import read_update_file


class MadeKit(NamedTuple):
    """What was made, and where."""

    kit: Kit
    paths: list[Path]
    notes: tuple[str, ...]
    """What the developer should know of this kit before it is mailed."""


def make_kit(update: Path, output: Path, layout_path: Path | None = None) -> MadeKit:
    """Make the kit of an update file of any form, as a folder or a ZIP.

    Raises:
        PackagerError: the update or the layout is not as it has to be, they do not fit each other,
            or the output is something else; then nothing is changed.
    """
    found = read_update_file(update)
    layout = load_layout(layout_path) if layout_path else None
    kit = plan_kit(found, layout, str(update))
    paths = write_kit(output, kit_files(kit), kit.stem)
    return MadeKit(kit, paths, tuple(_notes(kit, layout)))


def _notes(kit: Kit, layout: Layout | None) -> Iterator[str]:
    if layout is None:
        yield "no layout given: the kit says BOOT0, which is wrong for a read-protected product"
    if not kit.dfu_util_is_safe:
        yield (
            "no script for dfu-util: staging is in bank 2, where the ROM of many chips (ids 0x90,"
            " 0x91) makes it wait for ever; the customer needs STM32CubeProgrammer 2.2.1 or newer"
        )
    yield "STM32CubeProgrammer is closed and not part of our tests: try the kit once on your device"
    yield "many mail servers refuse a .bat, even inside a ZIP: offer the kit for download"
