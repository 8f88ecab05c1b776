"""Building the loader: both toolchains, the same bytes again, and no key where none belongs."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
import workshop

from packager import monocypher, resources, toolchain
from packager.errors import BuildError, KeyFileError
from packager.format import INFO_FLAG_DEV, INFO_OFFSET, INFO_SIZE
from packager.image import elf_segments
from packager.keys import DeviceKey, SigningKey, VerifyKey, load_device_keys, published_test_keys
from packager.loader_build import build_loader
from packager.loader_parts import (
    CHIP_SOURCES,
    CORE_SOURCES,
    DEVELOPMENT,
    DFU_DOOR,
    NO_DOOR,
    NO_INDICATOR,
    PIN_INDICATOR,
    PRODUCTION,
    ROM_DOOR,
    LoaderKeys,
)
from packager.records import parse_info
from packager.toolchain import Source, compile_link, find_toolchain

TOOLS = toolchain.NAMES
LARGEST = {"gcc": 24 * 1024, "zig": 28 * 1024}
LARGEST_WITH_DOOR = {"gcc": 30 * 1024, "zig": 36 * 1024}
PROTECTED = "h743_protected"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_loader_fits_its_budget(build: workshop.Build, tool: str) -> None:
    assert build(workshop.DEFAULT, tool).loader.size <= LARGEST[tool]
    assert build(PROTECTED, tool).loader.size <= LARGEST_WITH_DOOR[tool]


@pytest.mark.parametrize("tool", TOOLS)
def test_the_same_layout_and_keys_give_the_same_bytes(
    build: workshop.Build, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build(workshop.DEFAULT, tool)
    # the path of this copy is the beginning of those of the folders a build works in
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sources = shutil.copytree(resources.loader_sources(), tmp_path / "s")
    again = build_loader(made.layout, made.keys, tmp_path / "out", toolchain=tool, sources=sources)
    assert again.elf.read_bytes() == made.loader.elf.read_bytes()
    assert again.hex.read_bytes() == made.loader.hex.read_bytes()


def test_the_outputs_are_named_and_moded_as_the_secrets_they_hold(shop: workshop.Workshop) -> None:
    secret = load_device_keys(shop.keys)[0].secret
    for path in (shop.loader.elf, shop.loader.hex):
        assert "SECRET" in path.name
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret in shop.loader.elf.read_bytes()


def test_the_info_block_is_at_its_place_and_says_what_the_layout_says(
    shop: workshop.Workshop,
) -> None:
    start = shop.layout.loader.start
    pieces = elf_segments(shop.loader.elf)
    raw = pieces[start][INFO_OFFSET : INFO_OFFSET + INFO_SIZE]
    info = parse_info(raw)
    assert info == shop.loader.info
    assert info.layout_id == shop.layout.layout_id
    assert info.app.start == shop.layout.app.start
    assert not info.is_dev


def test_a_development_loader_says_so(
    shop: workshop.Workshop, compiler: workshop.Compiler, tmp_path: Path
) -> None:
    built = build_loader(shop.layout, shop.keys, tmp_path, dev=True, toolchain=compiler())
    assert built.info.flags == INFO_FLAG_DEV


def test_building_needs_no_signing_key(
    shop: workshop.Workshop, compiler: workshop.Compiler, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(shop.keys, keys)
    shutil.rmtree(keys / "signing")
    tool = compiler(shop.loader.toolchain)
    built = build_loader(shop.layout, keys, tmp_path / "out", toolchain=tool)
    assert built.elf.read_bytes() == shop.loader.elf.read_bytes()


def test_no_signing_key_is_in_the_loader(shop: workshop.Workshop) -> None:
    from packager.keys import load_signing_key

    for name in ("active", "spare"):
        assert load_signing_key(shop.keys, name).secret not in shop.loader.elf.read_bytes()


@pytest.mark.parametrize("tool", TOOLS)
def test_no_build_leaves_the_device_key_in_a_cache(build: workshop.Build, tool: str) -> None:
    made = build(workshop.DEFAULT, tool)
    secret = load_device_keys(made.keys)[0].secret
    for path in (resources.build_folder() / "zig").rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


@pytest.mark.parametrize("role", ["verify", "device"])
@pytest.mark.parametrize("raw", [bytes(32), b"\xff" * 32, None], ids=["zero", "ones", "published"])
def test_blank_and_published_keys_are_not_built_in(
    shop: workshop.Workshop, tmp_path: Path, role: str, raw: bytes | None
) -> None:
    published = published_test_keys()
    signing, device = published["active"], published["device"]
    assert isinstance(signing, SigningKey)
    assert isinstance(device, DeviceKey)
    good = load_device_keys(shop.keys)[0]
    if role == "verify":
        chosen = LoaderKeys((VerifyKey("v", raw or signing.public),), (good,))
    else:
        verify = VerifyKey("v", good.public)
        chosen = LoaderKeys((verify,), (DeviceKey("d", raw or device.secret, good.public),))
    with pytest.raises(KeyFileError):
        build_loader(shop.layout, chosen, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_source_file_is_built() -> None:
    root = resources.loader_sources()
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.c")}
    found = {name for name in found if not name.startswith("examples/")}
    assert found == {
        *(*CHIP_SOURCES, *CORE_SOURCES),
        *(*PRODUCTION, *DEVELOPMENT, *NO_INDICATOR, *PIN_INDICATOR),
        *(*ROM_DOOR, *DFU_DOOR, *NO_DOOR),
    }


def test_an_unknown_toolchain_is_named() -> None:
    with pytest.raises(BuildError, match=r"toolchain 'tcc': unknown, one of gcc, zig"):
        find_toolchain("tcc")


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_gcc", lambda: None)
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    with pytest.raises(BuildError, match="pip install ziglang"):
        find_toolchain()


@pytest.mark.parametrize("tool", TOOLS)
def test_a_warning_in_our_sources_is_an_error(tool: str, tmp_path: Path) -> None:
    workshop.needs(tool)
    source = tmp_path / "careless.c"
    source.write_text("int careless(long long wide);\nint careless(long long w) { return w; }\n")
    with pytest.raises(BuildError, match=r"careless\.c: .* refuses it"):
        compile_link([Source(source)], tmp_path / "none.ld", tmp_path / "out.elf", toolchain=tool)


def test_an_altered_monocypher_is_refused(tmp_path: Path) -> None:
    original = monocypher.find_monocypher()
    for name in monocypher.SOURCES:
        shutil.copy(original / name, tmp_path / name)
    assert monocypher.find_monocypher(tmp_path) == tmp_path
    with (tmp_path / "monocypher.c").open("a") as file:
        file.write("// \n")
    with pytest.raises(BuildError, match=r"monocypher\.c: SHA-256 .*, expected "):
        monocypher.find_monocypher(tmp_path)


def test_a_missing_monocypher_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="--monocypher"):
        monocypher.find_monocypher(tmp_path)
