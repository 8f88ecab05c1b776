"""Serials in, a signed manifest and labels out: strict readers, one signature, no markup."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from material import DEFAULT_LAYOUT, image, key_folder, key_set, layout
from test_factory import info_for, loader_elf
from test_readers_survive import survives

from packager import crypto, factory
from packager.cli import run
from packager.errors import AuthenticationError, FormatError, PackagerError, RefusedError
from packager.factory import labels, manifest, serials
from packager.factory.manifest import Manifest, parse_manifest, render_manifest, verify_manifest
from packager.factory.serials import MAX_SERIAL, read_serials
from packager.format import MANIFEST_DOMAIN, SIGNATURE_DOMAIN
from packager.keys import keygen, keygen_batch, load_recipients, load_signing_key, load_verify_keys
from packager.update import signed_bytes

IMAGE = image(3001)
NASTY = '<script>alert(\'"&")</script>'


# -- serials --------------------------------------------------------------------------------------


def read(tmp_path: Path, data: bytes) -> tuple[str, ...]:
    path = tmp_path / "serials.csv"
    path.write_bytes(data)
    return read_serials(path).serials


@pytest.mark.parametrize(
    "data",
    [
        b"serial\nA-1\nA-2\n",
        b"serial\r\nA-1\r\nA-2",
        b"\xef\xbb\xbfserial\r\nA-1\r\nA-2\r\n",
        b'"serial"\n"A-1"\n"A-2"\n',
        b'order,serial,note\n7,A-1,"two\nlines, a comma"\n8,A-2,\n',
    ],
    ids=["plain", "from Windows", "from a spreadsheet", "quoted", "with other columns"],
)
def test_serials_are_read_in_their_order(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == ("A-1", "A-2")


def test_a_serial_may_hold_whatever_prints(tmp_path: Path) -> None:
    assert read(tmp_path, "serial\nGerät 7/ä\n東京-1\n".encode()) == ("Gerät 7/ä", "東京-1")
    assert read(tmp_path, f"serial\n{'x' * MAX_SERIAL}\n".encode()) == ("x" * MAX_SERIAL,)


WRONG_CSV: dict[str, tuple[bytes, str]] = {
    "a second byte order mark": (2 * b"\xef\xbb\xbf" + b"serial\nA\n", "1: "),
    "UTF-16": ("serial\nA\n".encode("utf-16"), "1: begins with the byte order mark of UTF-16"),
    "Latin-1": ("serial\nA\nGerät\n".encode("latin-1"), "3: byte 0xE4 is no UTF-8"),
    "duplicate": (b"serial\nA\nB\nA\n", "4: serial 'A' again, it is in line 2 too; remove one"),
    "duplicate further on": (
        b'serial,note\nA,"x\ny"\nB,\nA,\n',
        "5: serial 'A' again, it is in line 2 too",
    ),
    "blank": (b"serial,x\n,1\n", "2: blank serial, expected one in every row; remove the row"),
    "spaces only": (b"serial,x\n   ,1\n", "2: blank serial"),
    "empty line": (b"serial\nA\n\nB\n", "3: empty line, expected a row"),
    "space around": (b"serial\n A\n", "2: serial with a space around it"),
    "control character": (b"serial\nA\x07B\n", "2: control character U+0007 in a serial"),
    "NUL": (b"serial\nA\x00B\n", "2: control character U+0000 in a serial"),
    "line break inside": (b'serial\nA\n"B\nC"\n', "3: control character U+000A in a serial"),
    "other direction": ("serial\nA\u202eB\n".encode(), "2: control character U+202E in a serial"),
    "mark in the middle": ("serial\nA\ufeff\n".encode(), "2: control character U+FEFF"),
    "no column": (b"number\nA\n", "1: no column 'serial', the first row names 'number'; name one"),
    "semicolons": (b"serial;x\nA;1\n", "1: no column 'serial', the first row names 'serial;x'"),
    "two columns": (b"serial,serial\nA,B\n", "1: 2 columns 'serial'"),
    "too long": (
        b"serial\n" + b"x" * 65 + b"\n",
        "2: serial of 65 characters, expected at most 64",
    ),
    "a value too many": (b"serial\nA,B\n", "2: 2 values, expected 1 as in the first row"),
    "a value missing": (b"x,serial\nA\n", "2: 1 values, expected 2 as in the first row"),
    "open quote": (b'serial\n"A\n', "2: damaged CSV (unexpected end of data)"),
    "text behind a quote": (b'serial\n"A"B\n', "2: damaged CSV ("),
    "a field without end": (b"serial\n" + b"x" * 200_000, "2: damaged CSV (field larger than"),
    "nothing below": (b"serial\n", ": no serials, expected one a row"),
    "nothing at all": (b"", ": empty file"),
    "only a line": (b"\n", "1: no column 'serial', the first row names nothing"),
}


@pytest.mark.parametrize("name", WRONG_CSV)
def test_what_is_wrong_with_serials_is_told_in_one_line_with_its_place(
    tmp_path: Path, name: str
) -> None:
    data, text = WRONG_CSV[name]

    with pytest.raises(FormatError) as caught:
        read(tmp_path, data)

    path = tmp_path / "serials.csv"
    assert str(caught.value).startswith(f"{path}{'' if text.startswith(':') else ':'}{text}")
    assert str(caught.value).isprintable()


def test_more_serials_than_one_run_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serials, "MAX_SERIALS", 2)

    with pytest.raises(FormatError, match="4: one serial more, expected at most 2"):
        read(tmp_path, b"serial\nA\nB\nC\n")


CSV_TEXT = st.text(alphabet='serial,"\n\r\0;A1 \ufeff\x1b\u202e', max_size=60)


@settings(max_examples=300, deadline=None)
@given(CSV_TEXT | st.text(max_size=60), st.booleans())
def test_any_text_gives_serials_or_one_line_of_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, has_header: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = ("serial\n" if has_header else "").encode() + text.encode()
    found: list[str] = []

    assert error_of(lambda: found.extend(read(folder, data))).isprintable()
    assert len(set(found)) == len(found)
    assert all(one.isprintable() and one.strip() == one != "" for one in found)


def error_of(read: Callable[[], object]) -> str:
    """Return what a reader refused, empty if it did not; any other exception comes through."""
    try:
        read()
    except PackagerError as error:
        return str(error)
    return ""


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_give_serials_or_one_line_of_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()

    assert error_of(lambda: read(folder, b"serial\n" + data)).isprintable()


# -- the command ----------------------------------------------------------------------------------


class Run(NamedTuple):
    """A folder with keys of two batches, a factory image of the first, and a list of serials."""

    folder: Path
    keys: Path
    image: Path

    @property
    def made(self) -> Path:
        return self.folder / "run" / "manifest.json"

    def anew(self) -> Run:
        """Return the same place before the command was run."""
        shutil.rmtree(self.made.parent)
        return self

    def make(self, *more: str, csv: str = "serials.csv", keys: Path | None = None) -> int:
        given = ["--factory", str(self.image), "--layout", str(DEFAULT_LAYOUT)]
        out = ["-o", str(self.folder / "run"), *more]
        names = ["--keys", str(keys or self.keys)]
        return run(["factory", "manifest", str(self.folder / csv), *given, *names, *out])

    def verify(self, *more: str, keys: Path | None = None) -> int:
        names = ["--keys", str(keys or self.keys)]
        return run(["factory", "verify-manifest", str(self.made), *names, *more])


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to copy: keys, factory image, serials and what the command made of them."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(key_folder(), folder / "keys")
    for name in ("b1", "b2"):
        keygen_batch(folder / "keys", name)
    (b1,) = load_recipients(folder / "keys", ["b1"])
    info = replace(info_for(layout(), folder / "keys"), device_key_ids=(b1.key_id,))
    loader = loader_elf(folder / "loader.elf", info)
    (folder / "app.bin").write_bytes(IMAGE)
    args = (folder / "app.bin", loader, layout(), folder / "keys", 0x0102_0003, 7, ["b1"])
    factory.write_factory(folder / "factory.hex", factory.make_factory(*args))
    (folder / "serials.csv").write_text(
        f'serial,note\nA-1,x\n"{NASTY.replace(chr(34), chr(34) * 2)}",y\n'
    )
    assert Run(folder, folder / "keys", folder / "factory.hex").make() == 0
    return folder


@pytest.fixture
def line(made_once: Path, tmp_path: Path) -> Run:
    shutil.copytree(made_once, tmp_path / "line")
    folder = tmp_path / "line"
    return Run(folder, folder / "keys", folder / "factory.hex")


def test_the_manifest_says_what_every_serial_was_programmed_with(line: Run) -> None:
    values = json.loads(line.made.read_bytes())

    target, (b1,) = layout(), load_recipients(line.keys, ["b1"])
    assert values == {
        "format": "splitflash factory manifest 1",
        "product_id": target.product_id,
        "product_name": target.product_name,
        "layout_id": target.layout_id.hex(),
        "loader_version": "0.0.1",
        "version": "1.2.3",
        "security_counter": 7,
        "image_size": len(IMAGE),
        "image_digest": crypto.digest(IMAGE).hex(),
        "factory_sha256": hashlib.sha256(line.image.read_bytes()).hexdigest(),
        "verify_keys": [key.key_id.hex() for key in load_verify_keys(line.keys)],
        "device_keys": [b1.key_id.hex()],
        "batch": ["b1"],
        "signed_by": load_signing_key(line.keys).key_id.hex(),
        "serials": ["A-1", NASTY],
    }


def test_it_is_told_what_was_made_and_how_far_it_is(
    line: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line.anew().make() == 0

    out, err = capsys.readouterr()
    names = ["manifest.json", "manifest.json.sig", "labels.html"]
    assert [f"wrote: {line.folder}/run/{name}" in out for name in names] == [True] * 3
    assert sorted(path.name for path in (line.folder / "run").iterdir()) == sorted(names)
    assert "serials: 2" in out
    assert "serials.csv: serials: 100 %" in err
    assert "serials.csv: labels: 100 %" in err
    assert "columns not used: 'note'" in err


@pytest.mark.parametrize("there", ["an earlier run", "anything else"])
def test_what_is_in_the_folder_already_is_never_overwritten(
    line: Run, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    if there == "anything else":
        (line.anew().folder / "run").mkdir()
        (line.folder / "run" / "notes.txt").write_text("of line 2")
    before = {path: path.read_bytes() for path in (line.folder / "run").iterdir()}
    (line.folder / "serials.csv").write_text("serial\nB-1\n")

    assert line.make() == PackagerError.exit_code

    assert "exists already, expected a new or empty folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (line.folder / "run").iterdir()} == before


def test_it_holds_no_secret_and_is_made_without_a_device_key(line: Run) -> None:
    secrets = [path.read_bytes().splitlines()[1] for path in line.keys.glob("[ds]*/*.pem")]
    shutil.rmtree(line.keys / "device")

    assert line.anew().make() == 0
    for path in line.made.parent.iterdir():
        assert not any(secret in path.read_bytes() for secret in secrets)


def test_a_good_manifest_verifies_with_public_keys_alone(
    line: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for role in ("signing", "device"):
        shutil.rmtree(line.keys / role)

    assert line.verify("--factory", str(line.image)) == 0

    out = capsys.readouterr().out
    assert "signature: good, by active" in out
    assert "device_keys: b1 " in out
    assert ", as the file given" in out
    assert "serials: 2" in out


def test_the_spare_key_signs_too(line: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert line.anew().make("--signing-key", "spare") == 0
    assert line.verify() == 0
    assert "signature: good, by spare" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["manifest.json", "manifest.json.sig"])
@pytest.mark.parametrize("at", [0, 40, -2])
def test_one_altered_byte_is_noticed(line: Run, file: str, at: int) -> None:
    path = line.folder / "run" / file
    data = bytearray(path.read_bytes())
    data[at] = ord("0") if data[at] != ord("0") else ord("1")
    path.write_bytes(data)

    assert line.verify() == AuthenticationError.exit_code


def test_a_serial_cannot_be_added(line: Run) -> None:
    line.made.write_bytes(line.made.read_bytes().replace(b'"A-1"', b'"A-1", "A-2"'))

    assert line.verify() == AuthenticationError.exit_code


def test_keys_of_another_product_verify_nothing(
    line: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keygen(tmp_path / "others")

    assert line.verify(keys=tmp_path / "others") == AuthenticationError.exit_code
    assert "does not verify, with any key of public/: " in capsys.readouterr().err


def test_another_factory_image_is_told(line: Run, capsys: pytest.CaptureFixture[str]) -> None:
    line.image.write_bytes(line.image.read_bytes() + b"\n")

    assert line.verify("--factory", str(line.image)) == RefusedError.exit_code
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [b"", b"zz" * 64, b"00" * 63, b"00" * 65, b"\xff" * 64])
def test_what_is_no_signature_is_told(line: Run, data: bytes) -> None:
    (line.folder / "run/manifest.json.sig").write_bytes(data)

    assert line.verify() == FormatError.exit_code


def test_without_a_signature_nothing_is_shown(
    line: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (line.folder / "run/manifest.json.sig").unlink()

    assert line.verify() == FormatError.exit_code
    assert capsys.readouterr().out == ""


def test_a_factory_image_of_other_keys_makes_no_manifest(
    line: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keygen(tmp_path / "others")

    assert line.anew().make(keys=tmp_path / "others") == RefusedError.exit_code
    assert "trusts verify keys" in capsys.readouterr().err
    assert not (line.folder / "run").exists()


def test_bad_serials_leave_no_file_and_one_line(
    line: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (line.folder / "bad.csv").write_text("serial\nA\nA\n")

    assert line.anew().make(csv="bad.csv") == FormatError.exit_code
    assert not (line.folder / "run").exists()
    errors = [text for text in capsys.readouterr().err.splitlines() if " %" not in text]
    assert errors == [
        f"splitflash: {line.folder}/bad.csv:3: serial 'A' again, it is in line 2 too; remove one"
    ]


# -- the signature --------------------------------------------------------------------------------


def test_no_signature_of_an_update_is_one_of_a_manifest_nor_the_other_way_round() -> None:
    key, header = key_set().signing[0], bytes(640)

    assert len(MANIFEST_DOMAIN) == len(SIGNATURE_DOMAIN)
    assert MANIFEST_DOMAIN != SIGNATURE_DOMAIN
    of_update = crypto.sign(key.secret, signed_bytes(header))
    of_manifest = manifest.sign_manifest(header, key)
    crypto.verify(key.public, of_manifest, MANIFEST_DOMAIN + header)
    with pytest.raises(crypto.CryptoMismatch):
        crypto.verify(key.public, of_update, MANIFEST_DOMAIN + header)
    with pytest.raises(crypto.CryptoMismatch):
        crypto.verify(key.public, of_manifest, signed_bytes(header))


def test_a_manifest_that_names_another_signer_is_refused(line: Run) -> None:
    made = replace(parse_manifest(line.made.read_bytes()), signed_by=bytes(8))
    for name, data in manifest.signed_files(made, load_signing_key(line.keys)).items():
        (line.made.parent / name).write_bytes(data)

    with pytest.raises(FormatError, match="names 0000000000000000 as its signer"):
        verify_manifest(line.made, line.keys)


# -- JSON -----------------------------------------------------------------------------------------


def good() -> dict[str, Any]:
    made = Manifest(
        product_id="demo",
        product_name="Demo",
        layout_id=bytes(16),
        loader_version=1,
        version=2,
        security_counter=3,
        image_size=4,
        image_digest=bytes(32),
        factory_sha256=bytes(32),
        verify_keys=(bytes(8), b"12345678"),
        device_keys=(b"87654321",),
        batch=("b1",),
        signed_by=bytes(8),
        serials=("A", "Gerät"),
    )
    data = render_manifest(made)
    assert parse_manifest(data) == made
    values: dict[str, Any] = json.loads(data)
    return values


WRONG_JSON: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another format": (lambda v: v.update(format="2"), "expected the format 'splitflash factory"),
    "a field less": (lambda v: v.pop("batch"), "field 'batch' is missing"),
    "a field more": (lambda v: v.update(extra=1), "field 'extra' is unknown"),
    "text for a number": (lambda v: v.update(image_size="4"), "field 'image_size', expected a num"),
    "true for a number": (lambda v: v.update(image_size=True), "expected a number of 32 bits"),
    "33 bits": (lambda v: v.update(security_counter=1 << 32), "expected a number of 32 bits"),
    "not a number": (lambda v: v.update(image_size=float("nan")), "expected a number of 32 bits"),
    "short digest": (lambda v: v.update(image_digest="00"), "expected 32 bytes in hexadecimal"),
    "capital digits": (lambda v: v.update(signed_by="A" * 16), "expected hexadecimal digits"),
    "a version of words": (lambda v: v.update(version="one"), "expected a version like 1.4.2"),
    "no list": (lambda v: v.update(serials="A"), "field 'serials', expected a list"),
    "no serial": (lambda v: v.update(serials=[]), "field 'serials', expected a list"),
    "a number for a serial": (lambda v: v.update(serials=[1]), "expected text that prints"),
    "a blank serial": (lambda v: v.update(serials=[" "]), "expected serials, not a blank serial"),
    "a serial twice": (lambda v: v.update(serials=["A", "A"]), "a serial is there twice"),
    "half a character": (lambda v: v.update(product_name="\ud800"), "expected text that prints"),
    "a key without a name": (lambda v: v.update(device_keys=["00" * 8] * 2), "without a name"),
}


@pytest.mark.parametrize("name", WRONG_JSON)
def test_a_manifest_out_of_form_is_told_by_its_field(name: str) -> None:
    change, text = WRONG_JSON[name]
    values = good()
    change(values)

    with pytest.raises(FormatError) as caught:
        parse_manifest(json.dumps(values).encode())
    assert text in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"format": 1, "format": 2}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"1" * 10_000,
    ],
)
def test_what_is_no_manifest_is_told_in_one_line(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_manifest(data)
    assert str(caught.value).isprintable()


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    LEAVES, lambda some: st.lists(some) | st.dictionaries(st.text(max_size=9), some), max_leaves=9
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*good(), "other"]), JSON, max_size=4), st.booleans())
def test_any_json_is_a_manifest_or_one_line_of_error(changes: dict[str, Any], whole: bool) -> None:
    data = json.dumps({**(good() if whole else {}), **changes}).encode()

    assert error_of(lambda: parse_manifest(data)).isprintable()


def test_an_altered_manifest_file_is_refused_without_a_traceback(line: Run) -> None:
    survives(line.made, lambda path: verify_manifest(path, line.keys), 0)


def test_an_altered_signature_file_is_refused_without_a_traceback(line: Run) -> None:
    path = manifest.signature_path(line.made)
    survives(path, lambda _: verify_manifest(line.made, line.keys), 0)


def test_altered_json_is_a_manifest_or_an_error(line: Run) -> None:
    survives(line.made, lambda path: parse_manifest(path.read_bytes()), 0)


def test_an_altered_factory_image_is_one_or_an_error(line: Run) -> None:
    from packager.factory.file import read_factory

    survives(line.image, lambda path: read_factory(path, layout()), 0)


# -- labels ---------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and the text of each label."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.labels: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "section":
            self.labels.append([])

    def handle_data(self, data: str) -> None:
        if self.labels and data.strip():
            self.labels[-1].append(data)


def page_of(data: bytes) -> Page:
    page = Page()
    page.feed(data.decode())
    return page


OWN_TAGS = {"html", "head", "meta", "title", "style", "body", "main", "section", "h2", "p"}
OWN_ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "class"}


def test_every_device_has_a_label_with_product_serial_version_and_key(line: Run) -> None:
    page = page_of((line.folder / "run/labels.html").read_bytes())

    (b1,) = load_recipients(line.keys, ["b1"])
    key = f"key b1 {b1.key_id[:4].hex()}"
    name = layout().product_name
    assert page.labels == [
        [name, "A-1", "version 1.2.3", key],
        [name, NASTY, "version 1.2.3", key],
    ]


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=64), st.text(max_size=32))
def test_no_text_of_a_manifest_becomes_markup(serial: str, product: str) -> None:
    made = parse_manifest(json.dumps(good()).encode())
    made = replace(made, serials=(serial, "<b>"), product_name=product, batch=("<i onload=x>",))

    page = page_of(labels.render_labels(made))

    assert page.tags == OWN_TAGS
    assert page.attributes == OWN_ATTRIBUTES
    assert len(page.labels) == 2
