"""The kit of a read-protected product: its loader's way in, and BOOT0 nowhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from packager.errors import RefusedError
from packager.kit.contents import HOWTO, KitFile, kit_files, plan_kit
from packager.kit.make import make_kit
from packager.layout import Entry, Layout, Usb, load_layout
from packager.resources import layouts
from packager.update_file import decode

from .conftest import update_for
from .page import Page

PROTECTED = load_layout(layouts() / "h743_protected.yaml")
PRODUCT = PROTECTED.product_id
"""How the names of the update's own files begin."""
ENTRIES = {
    "pin": (Entry(pin=("C", 13), double_reset=True), ("hold",), ("plug-in", "let-go")),
    "reset": (Entry(double_reset=True, watchdog_resets=3), ("plug-in",), ("reset-twice",)),
    "app": (Entry(watchdog_resets=3), ("plug-in",), ("ask",)),
}


def files_of(layout: Layout) -> dict[str, KitFile]:
    return kit_files(plan_kit(decode(update_for(layout)), layout, "update.bin"))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("rdp", [0, 1, 2])
def test_no_file_says_boot0(entry: str, rdp: int) -> None:
    files = files_of(replace(PROTECTED, rdp=rdp, entry=ENTRIES[entry][0]))

    texts = {name: file.data for name, file in files.items() if not name.startswith(PRODUCT)}
    assert HOWTO in texts
    assert not [name for name, data in texts.items() if b"BOOT0" in data.upper()]
    assert not [name for name, data in texts.items() if b"@{" in data]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_page_has_six_steps_with_the_entry_of_the_layout(entry: str, tmp_path: Path) -> None:
    made_for, second, third = ENTRIES[entry]
    page = tmp_path / HOWTO
    page.write_bytes(files_of(replace(PROTECTED, entry=made_for))[HOWTO].data)

    steps = Page(page).steps

    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.do for step in steps] == [
        ("unplug",),
        second,
        third,
        ("write",),
        ("unplug",),
        ("plug-in", "wait"),
    ]
    assert all(step.alt and step.text for step in steps)


def test_the_scripts_say_what_comes_next(tmp_path: Path) -> None:
    files = files_of(PROTECTED)

    for name, file in files.items():
        if name.startswith("install"):
            text = file.data.decode().replace("\r\n", "\n")
            assert "2. Plug it in again, and leave it plugged in." in text
            assert "Do steps 1 to 3 of HOWTO.html, then start this" in text


def test_stock_dfu_util_is_offered_wherever_staging_is() -> None:
    mirrored = replace(PROTECTED, staging=PROTECTED.app, app=PROTECTED.staging)

    assert "install-with-dfu-util.sh" in files_of(mirrored)


def test_ids_that_no_other_program_looks_for_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"usb ids 1209:0001.*look for 0483:df11"):
        files_of(replace(PROTECTED, usb=Usb(vid=0x1209, pid=1)))


def test_the_shipped_layout_gets_its_kit(tmp_path: Path) -> None:
    update = tmp_path / "update.bin"
    update.write_bytes(update_for(PROTECTED))

    made = make_kit(update, tmp_path / "kit", PROTECTED.path)

    assert not any("BOOT0" in note for note in made.notes)
