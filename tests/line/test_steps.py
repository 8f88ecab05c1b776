"""The steps of production, pinned word for word for each kind of layout, and written beside."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import workshop
from elf_maker import Segment, make_elf
from material import DEFAULT_LAYOUT, image, key_folder, layout
from test_factory import info_for, loader_elf

from packager.cli import run
from packager.cli.factory import factory
from packager.layout import Layout
from packager.option_bytes import checklist, production_options

HERE = Path(__file__).parent
PROTECTED = workshop.layout_named("h743_protected")
KINDS = {
    "rdp-0": replace(workshop.layout_named(workshop.DEFAULT), path=Path("product.yaml")),
    "rdp-1": replace(PROTECTED, path=Path("product.yaml")),
    "rdp-2": replace(PROTECTED, path=Path("product.yaml"), rdp=2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_steps_of_each_kind_of_layout_are_these(kind: str) -> None:
    golden = (HERE / f"factory-steps-{kind}.txt").read_text()

    assert checklist(KINDS[kind], "factory_SECRET.hex", "keys") == golden.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_they_say_that_nobody_has_tried_them_on_the_real_program(kind: str) -> None:
    text = "\n".join(checklist(KINDS[kind], "factory_SECRET.hex", "keys"))

    assert "splitflash takes none of them" in text
    assert "not tested here with STM32CubeProgrammer itself" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_is_checked_while_it_can_still_be_read_and_protected_last(kind: str) -> None:
    lines = checklist(KINDS[kind], "factory_SECRET.hex", "keys")

    def first(text: str) -> int:
        return next((n for n, line in enumerate(lines) if text in line), len(lines))

    # the ROM bootloader does the check, and neither RDP nor ADD1 may have closed it by then
    order = [" -w ", "-ob BOR_LEV", "-ob displ", "factory check ", "see the application run"]
    order += ["-ob BOOT_CM7_ADD1=0x0800", "-ob RDP="] if KINDS[kind].rdp else []
    assert [first(text) for text in order] == sorted(first(text) for text in order)
    assert all(first(text) < len(lines) for text in order)
    assert "BOOT_CM7_ADD1=0x1FF0" in lines[first("-ob BOR_LEV")]


@pytest.mark.parametrize("kind", ["rdp-1", "rdp-2"])
def test_after_the_protection_the_power_is_switched_without_a_probe(kind: str) -> None:
    *_, tail = "\n".join(checklist(KINDS[kind], "factory_SECRET.hex")).split("-ob RDP=")

    assert "take probe and power away" in tail
    assert f"must show rdp: {kind[-1]}" in tail


def test_every_line_for_splitflash_is_one_that_it_understands() -> None:
    (line,) = [
        line.split()
        for line in checklist(KINDS["rdp-0"], "f.hex", "keys")
        if line.strip().startswith("splitflash factory")
    ]
    options = {name for p in factory.commands[line[2]].params for name in p.opts}

    assert {word for word in line if word.startswith("--")} <= options


def test_a_path_with_a_blank_stays_one_word() -> None:
    lines = checklist(replace(KINDS["rdp-0"], path=Path("my product.yaml")), "my file.hex", "k")

    assert any('-w "my file.hex" -v' in line for line in lines)
    assert any('--layout "my product.yaml" --keys k' in line for line in lines)


def two_sectors(target: Layout) -> Layout:
    return replace(target, loader=target.loader._replace(size=2 * target.loader.size))


def test_every_sector_of_the_loader_is_write_protected() -> None:
    target = two_sectors(KINDS["rdp-0"])

    assert production_options(target).protected_sectors == (0, 1)
    assert any(line.endswith("nWRP0=0 nWRP1=0") for line in checklist(target, "f.hex"))


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ((), "factory-steps.txt"),
        (("--steps", "line 1.txt"), "line 1.txt"),
        (("--no-steps",), None),
    ],
)
def test_factory_build_writes_beside_the_image_what_it_prints(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    written: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "app.elf").write_bytes(make_elf(Segment(layout().app.start, image(3000))))
    loader_elf(tmp_path / "loader.elf", info_for(layout(), key_folder()))
    product = ["--layout", str(DEFAULT_LAYOUT), "--keys", str(key_folder())]
    given = ["--loader", "loader.elf", "--version", "1.0.0", "--counter", "1"]
    output = ["-o", "out/factory.hex", *options]

    assert run(["factory", "build", "app.elf", *product, *given, *output]) == 0

    out = capsys.readouterr().out
    steps = "\n".join(checklist(layout(), "out/factory.hex", str(key_folder()))) + "\n"
    assert steps in out
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.txt")}
    beside = "out/factory-steps.txt" if written == "factory-steps.txt" else written
    assert found == ({beside} if beside else set())
    if beside:
        assert (tmp_path / beside).read_text() == steps
        assert re.search(rf"^wrote: {re.escape(beside)}$", out, re.MULTILINE)


def test_to_write_the_steps_and_not_to_write_them_is_wrong_usage(tmp_path: Path) -> None:
    given = ["app.bin", "--layout", "l", "--keys", "k", "--version", "1.0.0"]

    assert run(["factory", "build", *given, "--steps", "s.txt", "--no-steps"]) == 2
