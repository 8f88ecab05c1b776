"""Every shipped layout, from its YAML to a new version that runs; nothing here types an address."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop

from packager.cli import run
from packager.errors import ImageError
from packager.examples import build_example
from packager.export import check_export
from packager.keys import keygen
from packager.layout import load_layout
from packager.resources import layouts

EVERY = sorted(path.stem for path in layouts().glob("*.yaml"))


@pytest.mark.parametrize("tool", ["gcc", "zig"])
@pytest.mark.parametrize("name", EVERY)
def test_a_layout_leads_to_a_device_that_updates_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, tool: str
) -> None:
    workshop.needs(tool)
    product = tmp_path / "product.yaml"
    product.write_text((layouts() / f"{name}.yaml").read_text())
    layout = load_layout(product)
    old, new = (build_example(version, layout, tmp_path, tool) for version in ("1.0.0", "2.0.0"))
    keys, board = str(tmp_path / "keys"), str(tmp_path / "board.sim")
    loader, factory = tmp_path / "loader", str(tmp_path / "factory_SECRET.hex")
    update = str(tmp_path / "update.hex")
    common = ["--layout", str(product), "--keys", keys]

    def succeeds(*command: str) -> str:
        assert run(command) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    succeeds("layout", "check", str(product))
    check_export(layout, tmp_path / "exported")
    succeeds("keygen", keys)
    succeeds("loader", "build", *common, "--toolchain", tool, "-o", str(loader))
    made = ["--loader", str(loader / "loader_SECRET.elf"), "--version", "1.0.0", "--counter", "1"]
    succeeds("factory", "build", str(old), *common, *made, "-o", factory)
    succeeds("sim", "new", board, "--layout", str(product), "--factory", factory)
    assert "example application 1.0.0" in succeeds("sim", "boot", board)
    release = ["--version", "2.0.0", "--counter", "1", "-o", update]
    succeeds("pack", str(new), *common, *release)
    succeeds("drop", update, "--device", f"sim:{board}")
    assert "example application 2.0.0" in succeeds("sim", "boot", board)


@pytest.mark.parametrize("name", EVERY)
def test_the_largest_image_is_packed_and_one_byte_more_is_refused_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    layout = workshop.layout_named(name)
    app = tmp_path / "app.bin"
    app.write_bytes(workshop.image_for(layout, layout.largest_image))
    keygen(tmp_path / "keys")
    command = ["pack", str(app), "--layout", str(layout.path), "--version", "1.0.0"]
    rest = ["--keys", str(tmp_path / "keys"), "--counter", "1", "-o"]

    assert run([*command, *rest, str(tmp_path / "fits.hex")]) == 0
    app.write_bytes(app.read_bytes() + b"\0")
    assert run([*command, *rest, str(tmp_path / "u.hex")]) == ImageError.exit_code
    error = capsys.readouterr().err
    assert str(layout.largest_image) in error
    assert str(layout.largest_image + 1) in error
    assert not (tmp_path / "u.hex").exists()
