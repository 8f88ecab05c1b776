"""The packing commands as a person calls them: keygen, pack, inspect, verify, unpack, factory."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import reference_open
from elf_maker import Segment, make_elf
from material import DEFAULT_LAYOUT, image, key_folder, layout
from test_factory import info_for, loader_elf

from packager.cli import run
from packager.errors import LayoutError
from packager.hex_file import read_hex
from packager.keys import load_device_keys, load_verify_keys
from packager.update_file import read_update_file

IMAGE = image(30_000)
PROTECTION = (
    "over ROM DfuSe at RDP0 the file is protected only against"
    " someone who has the file and no device"
)


class Shell:
    """A folder to work in, and commands with the layout and keys filled in."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.capsys = capsys
        shutil.copytree(key_folder(), self.keys)
        (folder / "app.elf").write_bytes(make_elf(Segment(0x0810_0000, IMAGE)))

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run one command line; return exit code, stdout and stderr."""
        code = run(arguments)
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def product(self) -> tuple[str, ...]:
        """Return the options that name layout and keys."""
        return "--layout", str(DEFAULT_LAYOUT), "--keys", str(self.keys)

    def pack(self, output: str = "app.update.bin", *more: str) -> tuple[int, str, str]:
        """Pack the application."""
        counter = () if "--counter" in more else ("--counter", "3")
        options = ("--version", "1.4.2", *counter, "-o", f"{self.folder}/{output}", *more)
        return self.run("pack", f"{self.folder}/app.elf", *self.product(), *options)

    def left(self) -> set[str]:
        """Return the names of what was made."""
        return {path.name for path in self.folder.iterdir()} - {"keys", "app.elf"}


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """A fresh folder with keys and an application."""
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


def test_pack_needs_no_device_key_and_anybody_with_it_opens_the_update(shell: Shell) -> None:
    device, verify = load_device_keys(shell.keys)[0], load_verify_keys(shell.keys)[0]
    shutil.rmtree(shell.keys / "device")

    code, _, err = shell.pack()

    assert code == 0, err
    data = (shell.folder / "app.update.bin").read_bytes()
    assert reference_open.open_update(data, verify.raw, device.secret)["image"] == IMAGE


def test_pack_tells_what_it_made_and_what_it_protects(shell: Shell) -> None:
    _, out, err = shell.pack()

    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert lines["wrote"] == f"{shell.folder}/app.update.bin"
    assert lines["version"] == "1.4.2"
    assert lines["security_counter"] == "3"
    assert lines["image_size"] == "30000 bytes"
    assert lines["largest_image"] == f"{layout().largest_image} bytes (3.3 % used)"
    assert len(lines["image_digest"]) == len(lines["update_id"]) == 64
    assert PROTECTION in err


@pytest.mark.parametrize("form", ["hex", "bin", "dfu"])
def test_pack_writes_the_form_the_name_asks_for(shell: Shell, form: str) -> None:
    assert shell.pack(f"app.{form}")[0] == 0

    assert read_update_file(shell.folder / f"app.{form}").form == form


@pytest.mark.parametrize("exists", [False, True])
def test_pack_fills_a_folder_with_all_forms(shell: Shell, exists: bool) -> None:
    if exists:
        (shell.folder / "release").mkdir()

    code, out, _ = shell.pack("release" if exists else "release/")

    assert code == 0
    assert out.count("wrote: ") == 3
    assert len(list((shell.folder / "release").iterdir())) == 3


def test_without_the_active_key_the_spare_signs_and_a_note_says_so(shell: Shell) -> None:
    (shell.keys / "signing/active.pem").unlink()

    code, out, err = shell.pack()

    assert code == 0
    assert "signed_by: spare" in out
    assert "note: signing/active.pem is gone, so the spare key signed" in err


def test_the_spare_key_signs_without_a_note_when_it_was_asked_for(shell: Shell) -> None:
    code, out, err = shell.pack("app.bin", "--signing-key", "spare")

    assert code == 0
    assert "signed_by: spare" in out
    assert "is gone" not in err


def test_the_counter_is_never_guessed(shell: Shell) -> None:
    code, _, err = shell.run(
        "pack", "app.elf", *shell.product(), "--version", "1.0.0", "-o", "app.bin"
    )

    assert code == LayoutError.exit_code
    assert "no security_counter" in err
    assert shell.left() == set()


def test_the_counter_of_the_layout_is_used_and_the_option_wins(shell: Shell) -> None:
    path = shell.folder / "layout.yaml"
    path.write_text(DEFAULT_LAYOUT.read_text() + "security_counter: 12\n")
    options = ("--layout", str(path), "--keys", str(shell.keys), "--version", "1.0.0")

    assert shell.run("pack", "app.elf", *options, "-o", "a.bin")[0] == 0
    assert shell.run("pack", "app.elf", *options, "-o", "b.bin", "--counter", "0")[0] == 0

    assert read_update_file(shell.folder / "a.bin").header.security_counter == 12
    assert read_update_file(shell.folder / "b.bin").header.security_counter == 0


def test_allow_downgrade_sets_the_flag(shell: Shell) -> None:
    shell.pack("app.bin", "--allow-downgrade")

    assert read_update_file(shell.folder / "app.bin").header.flags == 1


PACK_ERRORS = [
    (("--version", "1.4"), "version '1.4': not of the form MAJOR.MINOR.PATCH", 4),
    (("-o", "app.img"), "expected .hex, .bin or .dfu", 4),
    (("-o", "missing/app.bin"), "cannot be written", 1),
    (("--keys", "nowhere"), "no active.pem or spare.pem", 7),
    (("--layout", "nowhere.yaml"), "nowhere.yaml", 3),
    (("--counter", "-1"), "0<=x<=4294967295", 2),
    (("--signing-key", "other"), "'other' is not one of", 2),
]


@pytest.mark.parametrize(("options", "text", "exit_code"), PACK_ERRORS)
def test_a_pack_that_fails_says_why_and_leaves_no_file(
    shell: Shell, options: tuple[str, ...], text: str, exit_code: int
) -> None:
    code, out, err = shell.pack("app.bin", *options)

    assert code == exit_code
    assert text in err
    assert "Traceback" not in err
    assert out == ""
    assert shell.left() == set()


def test_a_bad_application_leaves_the_older_update_alone(shell: Shell) -> None:
    shell.pack()
    older = (shell.folder / "app.update.bin").read_bytes()
    (shell.folder / "app.elf").write_bytes(b"\x7fELF, but damaged")

    code, _, err = shell.pack()

    assert code == 4
    assert err.startswith("splitflash: ")
    assert err.count("\n") == 1
    assert (shell.folder / "app.update.bin").read_bytes() == older
    assert shell.left() == {"app.update.bin"}


@pytest.mark.parametrize("form", ["hex", "bin", "dfu"])
def test_inspect_names_every_header_field_without_keys(shell: Shell, form: str) -> None:
    shell.pack(f"app.{form}")
    shutil.rmtree(shell.keys)

    code, out, err = shell.run("inspect", f"app.{form}")

    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert code == 0
    assert set(reference_open.NAMES.split()) - set(lines) == {
        "magic",
        "compression_id",
        "device_bindings",
        "reserved",
    }
    assert lines["form"] == form
    assert lines["version"] == "1.4.2"
    assert lines["app_address"] == "0x08100000"
    assert lines["product_id"] == "demo-h743zi"
    assert "nothing was authenticated" in err


def test_inspect_speaks_json_to_machines(shell: Shell) -> None:
    shell.pack()

    code, out, _ = shell.run("inspect", "app.update.bin", "--json")

    found = json.loads(out)
    assert code == 0
    assert found["security_counter"] == 3
    assert found["image_size"] == len(IMAGE)
    assert found["app_address"] == 0x0810_0000
    assert len(found["recipients"]) == 1


def test_verify_checks_and_decrypts(shell: Shell) -> None:
    shell.pack("app.hex")

    code, out, _ = shell.run("verify", "app.hex", *shell.product())

    assert code == 0
    assert "signature: good" in out
    assert "image: decrypted, 30000 bytes" in out


def test_verify_refuses_an_altered_update(shell: Shell) -> None:
    shell.pack()
    path = shell.folder / "app.update.bin"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)

    code, out, err = shell.run("verify", "app.update.bin", *shell.product())

    assert code == 6
    assert "payload" in err
    assert out == ""


def test_verify_with_the_keys_of_another_product_is_refused(shell: Shell) -> None:
    shell.pack()
    shell.run("keygen", "others")
    options = ("--layout", str(DEFAULT_LAYOUT), "--keys", "others")

    code, _, err = shell.run("verify", "app.update.bin", *options)

    assert code == 6
    assert "signed by" in err


@pytest.mark.parametrize("options", [(), ("--layout", str(DEFAULT_LAYOUT)), ("--keys", "keys")])
def test_verify_without_enough_to_check_with_is_wrong_usage(
    shell: Shell, options: tuple[str, ...]
) -> None:
    shell.pack()

    assert shell.run("verify", "app.update.bin", *options)[0] == 2


def test_verify_takes_layout_and_keys_from_the_environment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.pack("app.hex")
    monkeypatch.setenv("SPLITFLASH_LAYOUT", str(DEFAULT_LAYOUT))
    assert shell.run("verify", "app.hex", "--keys", "keys")[0] == 0
    monkeypatch.setenv("SPLITFLASH_KEYS", "keys")

    code, out, _ = shell.run("verify", "app.hex")

    assert code == 0
    assert "signature: good" in out


@pytest.mark.parametrize("variable", ["SPLITFLASH_LAYOUT", "SPLITFLASH_KEYS"])
def test_half_of_them_in_the_environment_does_not_stop_a_loader_from_judging(
    shell: Shell, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.pack("app.hex")
    loader_elf(shell.folder / "loader.elf", info_for(layout(), shell.keys))
    monkeypatch.setenv(variable, str(DEFAULT_LAYOUT if "LAYOUT" in variable else shell.keys))

    alone, _, told = shell.run("verify", "app.hex")
    assert (alone, "go together" in told) == (2, True)
    with_loader = shell.run("verify", "app.hex", "--loader", "loader.elf")
    monkeypatch.delenv(variable)

    assert with_loader == shell.run("verify", "app.hex", "--loader", "loader.elf")
    assert "loader.elf: did not install version 1.4.2" in with_loader[2]


def test_unpack_writes_the_image_for_its_owner_only(shell: Shell) -> None:
    shell.pack("app.dfu")

    code, _, _ = shell.run("unpack", "app.dfu", *shell.product(), "-o", "image.bin")

    assert code == 0
    assert (shell.folder / "image.bin").read_bytes() == IMAGE
    if os.name == "posix":
        assert stat.S_IMODE((shell.folder / "image.bin").stat().st_mode) == 0o600


def test_unpack_of_a_truncated_update_writes_nothing(shell: Shell) -> None:
    shell.pack()
    path = shell.folder / "app.update.bin"
    path.write_bytes(path.read_bytes()[:5000])

    code, _, err = shell.run("unpack", "app.update.bin", *shell.product(), "-o", "image.bin")

    assert code == 4
    assert "truncated" in err
    assert shell.left() == {"app.update.bin"}


def test_keygen_tells_fingerprints_owners_and_what_is_lost(shell: Shell) -> None:
    code, out, _ = shell.run("keygen", "new")

    assert code == 0
    verify = load_verify_keys(shell.folder / "new")
    for key in verify:
        assert f"{key.name}: {key.key_id.hex()}" in out
    for text in ("signing: stays with", "device: stays with", "public: stays with", "if lost"):
        assert text in out
    for path in (shell.folder / "new").rglob("*.pem"):
        assert path.read_text().splitlines()[1] not in out


def test_keygen_into_a_used_folder_is_refused(shell: Shell) -> None:
    before = {path: path.read_bytes() for path in shell.keys.rglob("*.pem")}

    code, out, err = shell.run("keygen", str(shell.keys))

    assert code == 7
    assert "exists already" in err
    assert out == ""
    assert {path: path.read_bytes() for path in shell.keys.rglob("*.pem")} == before


def test_factory_build_makes_a_secret_file(shell: Shell) -> None:
    loader_elf(shell.folder / "loader.elf", info_for(layout(), shell.keys))
    options = ("--loader", "loader.elf", "--version", "1.0.0", "--counter", "1")

    code, _, err = shell.run("factory", "build", "app.elf", *shell.product(), *options)

    path = shell.folder / "factory_SECRET.hex"
    assert code == 0, err
    assert "SECRET" in err
    pieces = {0x0800_0000, 0x0810_0000, 0x081D_FBE0, 0x081E_0000}
    assert set(read_hex(path.read_bytes(), "f")) == pieces
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_factory_build_that_fails_leaves_no_file(shell: Shell) -> None:
    (shell.folder / "loader.elf").write_bytes(make_elf(Segment(0x0800_0000, bytes(4096))))
    options = ("--loader", "loader.elf", "--version", "1.0.0", "--counter", "1", "-o", "f.hex")

    code, _, err = shell.run("factory", "build", "app.elf", *shell.product(), *options)

    assert code == 4
    assert "info block" in err
    assert shell.left() == {"loader.elf"}
