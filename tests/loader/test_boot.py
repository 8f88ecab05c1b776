"""The shipped loader binary on the virtual board: looks, installs, resumes, refuses, boots."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import workshop

from packager import toolchain
from packager.chip import FLASH_WORD
from packager.errors import SimulationFault
from packager.format import RECORD_SIZE, BootCheck
from packager.image import elf_segments
from packager.keys import DeviceKey, SigningKey, VerifyKey, load_device_keys, published_test_keys
from packager.loader_build import build_loader, build_unchecked
from packager.loader_parts import LoaderKeys
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.cells import Word

from .host import MCU_LOADER

TOOLS = toolchain.NAMES
LAYOUTS = (workshop.DEFAULT, workshop.MIRROR, workshop.SMALL_CHIP)


def stage(board: Board, shop: workshop.Workshop, update: bytes) -> None:
    board.program({shop.layout.staging.start: update})


def app_bytes(board: Board, shop: workshop.Workshop, size: int) -> bytes:
    return board.read(shop.layout.app.start, size)


def runs(report: BootReport) -> bool:
    return report.outcome is Outcome.APP_RUNS and not report.faults


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_update_is_installed_and_runs_and_is_cleared_away(
    build: workshop.Build, layout: str, tool: str
) -> None:
    """Two chunks, every load looked at; then two sectors, from which none is skipped."""
    shop = build(layout, tool)
    board = shop.board(shop.image(5000, 1))
    assert runs(board.boot())
    for new, strict in ((shop.image(20_001, 2), True), (shop.image(140_001, 3), False)):
        stage(board, shop, shop.update(new))
        assert runs(board.boot(strict=strict))
        assert app_bytes(board, shop, len(new)) == new
        assert board.read(shop.layout.staging.start, 640) == b"\xff" * 640
        again = board.boot()
        assert runs(again)
        assert not again.operations


def test_the_app_is_entered_as_after_reset(shop: workshop.Workshop) -> None:
    board = shop.board(shop.image(2000))
    entered = board.boot().handover
    assert entered
    assert entered.vtor == shop.layout.app.start
    core = (entered.primask, entered.faultmask, entered.control, entered.ipsr)
    assert not any(core)
    caches = (entered.mpu_on, entered.instruction_cache_on, entered.data_cache_on)
    assert not any(caches)
    assert not any((entered.systick_control, entered.usb_clock_on))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_boot_with_full_marks_and_no_update_takes_few_instructions(
    build: workshop.Build, compiler: workshop.Compiler, tmp_path: Path, tool: str
) -> None:
    made = build(workshop.DEFAULT, tool)
    layout = dataclasses.replace(made.layout, boot_check=BootCheck.OFF)
    loader = build_loader(layout, made.keys, tmp_path, toolchain=compiler(tool))
    quick = dataclasses.replace(made, layout=layout, loader=loader)
    board = quick.board(quick.image(100_000))
    record = board.read(layout.marks.start, 128)
    board.program({layout.marks.start: record * 1020})
    report = board.boot(count=True)
    assert runs(report)
    assert report.instructions is not None
    assert report.instructions <= 8000


def test_nothing_of_an_update_is_in_the_loaders_ram_when_the_app_runs(
    shop: workshop.Workshop,
) -> None:
    new = shop.image(20_000, 3)
    board = shop.board(shop.image(2000))
    stage(board, shop, shop.update(new))
    assert runs(board.boot(strict=False))
    secret = load_device_keys(shop.keys)[0].secret
    pieces = {secret, *(new[at : at + 32] for at in range(1024, len(new) - 32, 32))}
    for ram in shop.layout.chip.ram:
        memory = board.rams.read(ram.span.start, ram.span.size) or b""
        assert not any(piece in memory for piece in pieces), ram.name
    loaders = board.rams.read(0x2000_0000, 24 * 1024)
    assert loaders == bytes(24 * 1024)


def test_a_refused_update_costs_a_note_written_twice_and_one_erase(shop: workshop.Workshop) -> None:
    image = shop.image(2000)
    board = shop.board(image, "2.0.0", 5)
    stage(board, shop, shop.update(shop.image(3000, 2), "3.0.0", 4))
    report = board.boot()
    assert runs(report)
    assert app_bytes(board, shop, len(image)) == image
    assert len(report.operations) == 2 * RECORD_SIZE // FLASH_WORD + 1


def test_dropping_the_installed_update_again_repairs_a_broken_app(
    shop: workshop.Workshop,
) -> None:
    image = shop.image(20_000, 2)
    update = shop.update(image)
    board = shop.board(shop.image(2000))
    stage(board, shop, update)
    assert runs(board.boot(strict=False))
    broken = bytes(64) + image[64:]
    board.program({shop.layout.app.start: broken})
    assert board.boot().outcome is Outcome.STAYS_IN_ROM
    stage(board, shop, update)
    assert runs(board.boot(strict=False))
    assert app_bytes(board, shop, len(image)) == image


def test_dropping_the_installed_update_again_changes_nothing_of_a_good_app(
    shop: workshop.Workshop,
) -> None:
    update = shop.update(shop.image(20_000, 2))
    board = shop.board(shop.image(2000))
    stage(board, shop, update)
    assert runs(board.boot(strict=False))
    stage(board, shop, update)
    report = board.boot()
    assert runs(report)
    assert not [op for op in report.operations if shop.layout.app.contains(op.address)]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("flavour", ["before", "torn", "after"])
def test_a_cut_install_goes_on_by_itself(build: workshop.Build, tool: str, flavour: str) -> None:
    shop = build(workshop.DEFAULT, tool)
    new = shop.image(3000, 2)
    board = shop.board(shop.image(2000))
    stage(board, shop, shop.update(new))
    fresh = board.snapshot()
    total = len(board.boot(strict=False).operations)
    for cut in range(1, total + 1, 37):
        board.restore(fresh)
        report = board.boot(cut=f"{cut}-{flavour}", strict=False)
        assert report.outcome is Outcome.POWER_CUT, cut
        assert runs(board.boot(strict=False)), cut
        assert app_bytes(board, shop, len(new)) == new, cut


def test_full_marks_are_emptied_with_their_floor_kept(shop: workshop.Workshop) -> None:
    board = shop.board(shop.image(2000), "2.0.0", 7)
    record = board.read(shop.layout.marks.start, 128)
    board.program({shop.layout.marks.start: record * 900})
    new = shop.image(3000, 2)
    stage(board, shop, shop.update(new, "2.1.0", 7))
    fresh = board.snapshot()
    assert runs(board.boot(strict=False))
    old = shop.update(shop.image(3000, 4), "9.0.0", 6)
    # four words carried, the sector erased, four words appended, INSTALLING
    for cut in ("1-torn", "4-torn", "4-after", "5-torn", "5-after", "6-torn", "9-after"):
        board.restore(fresh)
        assert board.boot(cut=cut, strict=False).outcome is Outcome.POWER_CUT
        assert runs(board.boot(strict=False)), cut
        assert app_bytes(board, shop, len(new)) == new, cut
        stage(board, shop, old)
        assert runs(board.boot(strict=False)), cut
        assert app_bytes(board, shop, len(new)) == new, "the floor was lost"


@pytest.mark.parametrize("kind", ["verify", "device", "blank"])
def test_a_loader_with_an_unusable_key_installs_nothing(
    shop: workshop.Workshop, compiler: workshop.Compiler, tmp_path: Path, kind: str
) -> None:
    published = published_test_keys()
    signing, device = published["active"], published["device"]
    assert isinstance(signing, SigningKey)
    assert isinstance(device, DeviceKey)
    from packager.keys import load_verify_keys

    good = LoaderKeys(tuple(load_verify_keys(shop.keys)), tuple(load_device_keys(shop.keys)))
    keys = {
        "verify": LoaderKeys((*good.verify, VerifyKey("published", signing.public)), good.device),
        "device": LoaderKeys(good.verify, (*good.device, device)),
        "blank": LoaderKeys((*good.verify, VerifyKey("blank", b"\xff" * 32)), good.device),
    }[kind]
    image = shop.image(2000)
    board = shop.board(image)
    built = build_unchecked(shop.layout, keys, tmp_path, toolchain=compiler())
    board.program(elf_segments(built.elf))
    stage(board, shop, shop.update(shop.image(3000, 2)))
    assert runs(board.boot(strict=False))
    assert app_bytes(board, shop, len(image)) == image


def test_only_a_development_loader_starts_an_app_without_a_record(
    shop: workshop.Workshop, compiler: workshop.Compiler, tmp_path: Path
) -> None:
    for dev in (False, True):
        built = build_loader(shop.layout, shop.keys, tmp_path, dev=dev, toolchain=compiler())
        board = Board.new(shop.layout.chip)
        board.program(elf_segments(built.elf))
        board.program({shop.layout.app.start: shop.image(2000)})
        assert (board.boot().outcome is Outcome.APP_RUNS) is dev


def test_at_protection_level_1_a_board_without_app_sleeps_instead_of_entering_the_rom(
    shop: workshop.Workshop,
) -> None:
    board = Board.new(shop.layout.chip)
    board.program(elf_segments(shop.loader.elf))
    assert board.boot().outcome is Outcome.STAYS_IN_ROM
    board.flash.options = board.flash.options.with_rdp(0x55)
    assert board.boot().outcome is Outcome.STAYS_PARKED


def test_a_loader_for_another_chip_stays(build: workshop.Build) -> None:
    shop = build(workshop.SMALL_CHIP)
    board = Board.new(workshop.layout_named(workshop.DEFAULT).chip)
    board.program(elf_segments(shop.loader.elf))
    assert board.boot().outcome is Outcome.STAYS_IN_ROM


def test_a_flash_read_without_the_probe_is_noticed(
    shop: workshop.Workshop, compiler: workshop.Compiler, tmp_path: Path
) -> None:
    """Negative control: the probing read is what survives a torn word."""
    sources = tmp_path / "mcu_loader"
    shutil.copytree(MCU_LOADER, sources)
    driver = sources / "flash_h743.c"
    text = driver.read_text()
    assert text.count("SCB_CCR = ccr | CCR_BFHFNMIGN;") == 1
    driver.write_text(text.replace("SCB_CCR = ccr | CCR_BFHFNMIGN;", "SCB_CCR = ccr;"))
    out = tmp_path / "out"
    mutant = build_loader(shop.layout, shop.keys, out, toolchain=compiler(), sources=sources)
    outcomes = []
    for built in (shop.loader, mutant):
        board = shop.board(shop.image(2000))
        board.program(elf_segments(built.elf))
        stage(board, shop, shop.update(shop.image(3000, 2)))
        board.flash.plant(shop.layout.staging.start, Word.POISONED)
        try:
            outcomes.append(runs(board.boot()))
        except SimulationFault:
            outcomes.append(False)
    assert outcomes == [True, False]


def test_the_loader_never_programs_its_own_sector_or_staging(shop: workshop.Workshop) -> None:
    board = shop.board(shop.image(2000))
    stage(board, shop, shop.update(shop.image(3_000, 2)))
    operations = board.boot(strict=False).operations
    assert operations
    for op in operations:
        assert not shop.layout.loader.contains(op.address)
        if shop.layout.staging.contains(op.address):
            assert str(op.kind) == "erase"
