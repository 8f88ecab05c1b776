"""Every reader of files, fed with files that were good once: an answer or one line of error."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import material
import pytest
from elf_maker import Segment, make_elf
from hostile_yaml import HARMLESS, HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from packager import keys
from packager.chip import CHIPS
from packager.cli import run
from packager.errors import LayoutError, PackagerError
from packager.hex_file import write_hex
from packager.image import elf_segments, load_image
from packager.layout import load_layout
from packager.layout_keys import AREAS, KEYS
from packager.resources import layouts
from packager.sim.board import Board
from packager.update import open_update
from packager.update_file import read_update_file, write_update

MUTATIONS = 300
"""Of each file; seeded, so that a failure repeats itself."""
INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b":", b"-", b"\xff" * 4, b"\0" * 8)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Flip, replace, insert, cut out, cut off or repeat, up to four times."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        length = chance.choice([1, 1, 2, 4, 16, 64])
        piece = chance.choice([*INTERESTING, chance.randbytes(length)])
        match chance.randrange(6):
            case 0 if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at] + piece + data[at + len(piece) :]
            case 2:
                data = data[:at] + piece + data[at:]
            case 3:
                data = data[:at] + data[at + length :]
            case 4:
                data = data[:at]
            case _:
                data = data[:at] + data[max(0, at - length) : at] + data[at:]
    return data


def image_as(form: str) -> bytes:
    """Return a small image in one of the forms a linker writes."""
    data, start = material.image(600), material.layout().app.start
    if form == "elf":
        half = len(data) // 2
        return make_elf(Segment(start, data[:half]), Segment(start + half, data[half:]))
    return write_hex({start: data}) if form == "hex" else data


def survives(
    path: Path,
    read: Callable[[Path], object],
    number: int,
    *,
    mutations: int = MUTATIONS,
    few: bool = False,
) -> None:
    """Read mutations of a file; anything but an answer or a PackagerError comes through."""
    good = path.read_bytes()
    read(path)
    refused = []
    for turn in range(mutations):
        path.write_bytes(mutated(good, random.Random(f"{number}.{turn}")))
        try:
            read(path)
        except PackagerError as error:
            refused.append(error)
        except Exception as error:
            pytest.fail(f"mutation {number}.{turn}: {error!r}")
    assert few or len(refused) > mutations // 20, "these mutations hardly change a thing"


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("form", ["elf", "hex", "bin"])
def test_an_altered_image_is_an_image_or_an_error(tmp_path: Path, form: str, number: int) -> None:
    path = tmp_path / f"app.{form}"
    path.write_bytes(image_as(form))
    # most of a raw image is anybody's bytes
    survives(path, lambda found: load_image(found, material.layout()), number, few=form == "bin")


@pytest.mark.parametrize("number", range(2))
def test_an_altered_elf_gives_segments_or_an_error(tmp_path: Path, number: int) -> None:
    path = tmp_path / "loader.elf"
    path.write_bytes(image_as("elf"))
    survives(path, elf_segments, number)


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("form", ["bin", "hex", "dfu"])
def test_an_altered_update_file_is_an_update_or_an_error(
    tmp_path: Path, form: str, number: int
) -> None:
    path = tmp_path / f"new.update.{form}"
    write_update(path, material.update(3000))

    def read(found: Path) -> None:
        own = material.key_set()
        opened = read_update_file(found)
        open_update(opened.data, own.verify, own.device, material.layout())

    survives(path, read, number)


@pytest.mark.parametrize("kind", ["device", "signing", "verify", "recipient"])
def test_an_altered_key_file_is_a_key_or_an_error(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "keys"
    shutil.copytree(material.key_folder(), folder)
    path, read = {
        "device": (folder / "device" / "device.pem", keys.load_device_keys),
        "signing": (folder / "signing" / "active.pem", lambda at: keys.load_signing_key(at, None)),
        "verify": (folder / "public" / "active.verify.pem", keys.load_verify_keys),
        "recipient": (folder / "public" / "device.public.pem", keys.load_recipients),
    }[kind]
    survives(path, lambda _: read(folder), 0)


def test_an_altered_board_file_is_a_board_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "my.board"
    board = Board.new(CHIPS["stm32h743xi"])
    board.program({0x0800_0000: random.Random(1).randbytes(4096)})
    board.save(path)
    survives(path, Board.load, 0, mutations=100)


@pytest.mark.parametrize("name", sorted(path.stem for path in layouts().glob("*.yaml")))
def test_an_altered_layout_is_a_layout_or_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    shutil.copy(material.ROOT / "layouts" / path.name, path)
    survives(path, load_layout, 0, mutations=60)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_layout_with_something_odd_in_it_is_refused_in_words_or_the_same_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    text, path = HOSTILE[what], tmp_path / "l.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code = run(["layout", "check", str(path)])
    out, err = capsys.readouterr()

    if what in HARMLESS:
        assert code == 0
        assert material.layout().layout_id.hex() in out
    else:
        assert code == LayoutError.exit_code
        assert err.startswith(f"splitflash: {path}")
        assert not out


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from(["start", "size", "128K", "rom", "dfu", "DTCM", 0x0800_0000, 131072])
)
TREES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from([*KEYS, *AREAS, "start", "size", "pin"]), below, max_size=4
        )
    ),
    max_leaves=12,
)
"""What YAML can carry, with the keys of layouts in wrong places too."""


@settings(max_examples=200, deadline=None)
@given(values=st.dictionaries(st.sampled_from(sorted(KEYS)), TREES, max_size=len(KEYS)))
def test_any_value_at_any_key_is_a_layout_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    good = YAML(typ="safe", pure=True).load(material.DEFAULT_LAYOUT.read_text())
    with path.open("wb") as file:
        YAML(typ="safe", pure=True).dump({**good, **values}, file)
    with contextlib.suppress(LayoutError):
        load_layout(path)
