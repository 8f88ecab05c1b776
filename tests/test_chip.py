"""The chips as data: one source for every address of theirs, and room for more of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import workshop

from packager import rehearse
from packager.chip import CHIPS, KIB, SECTOR_SIZE, UNSUPPORTED, Chip, h743_like
from packager.layout import load_layout
from packager.layout_schema import reference_text
from packager.resources import loader_sources
from packager.sim import system_memory

LAYOUTS = Path(__file__).parent.parent / "layouts"

SMALL = """\
chip: stm32h743xe
product: {id: small, name: a part that nobody makes}
areas:
  loader:  {start: 0x08000000, size: 128K}
  staging: {start: 0x08020000, size: 128K}
  app:     {start: 0x08100000, size: 128K}
  marks:   {start: 0x08120000, size: 128K}
"""


def test_one_more_entry_is_a_chip_with_layouts_loader_and_a_device_that_updates_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: workshop.Compiler
) -> None:
    monkeypatch.setitem(CHIPS, "stm32h743xe", h743_like("stm32h743xe", 512))
    (tmp_path / "product.yaml").write_text(SMALL)
    layout = load_layout(tmp_path / "product.yaml")
    shop = workshop.make_workshop(tmp_path, layout, compiler())
    new = shop.image(layout.largest_image, seed=2)
    board = shop.board(shop.image(2_000, seed=1))

    rehearse.drop(board, shop.update(new))
    assert workshop.runs(board.boot())
    assert shop.app_is(board, new)


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS.keys())
def test_the_banks_are_equal_halves_of_whole_sectors_at_the_bases_of_the_2_mb_part(
    chip: Chip,
) -> None:
    first, second = chip.banks

    assert first.size == second.size == chip.sectors_per_bank * SECTOR_SIZE
    assert first.size + second.size == chip.flash_kib * KIB
    assert (first.start, second.start) == (0x0800_0000, 0x0810_0000)


def test_the_loader_reads_unique_id_and_flash_size_where_the_chips_have_them() -> None:
    text = (loader_sources() / "h743.h").read_text()
    unique_id = re.search(r"#define UID\(n\) REG\((0x[0-9a-f]{8})u \+ 4u \* \(n\)\)", text)
    size = re.search(r"#define FLASH_SIZE_KIB .*(0x[0-9a-f]{8})u\)", text)

    assert unique_id is not None
    assert size is not None
    for chip in CHIPS.values():
        assert chip.unique_id == (int(unique_id[1], 16), 12)
        assert chip.flash_size_register == int(size[1], 16)


def test_the_virtual_board_has_its_unique_id_where_the_chip_says() -> None:
    chip = CHIPS["stm32h743xg"]
    memory = system_memory.render(chip, 0x90, b"twelve bytes")
    at = chip.unique_id.start - system_memory.BASE

    assert memory[at : at + chip.unique_id.size] == b"twelve bytes"


def test_no_address_of_the_unique_id_is_typed_a_second_time() -> None:
    package = Path(system_memory.__file__).parent.parent
    typed = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"0x1FF1_?E8", path.read_text(), re.IGNORECASE)
    ]

    assert typed == ["chip.py"]


def test_every_part_that_cannot_be_used_is_in_the_reference_with_its_reason() -> None:
    for name, (reason, _) in UNSUPPORTED.items():
        assert re.search(rf"`{name}`[^|\n]*\| {re.escape(reason)} \|", reference_text()), name
