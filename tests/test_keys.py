"""Keys: what keygen makes, and everything that a key folder must not contain."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from material import key_folder

from packager import crypto, keys
from packager.errors import KeyFileError
from packager.keys import Kind

FILES = [
    "signing/active.pem",
    "signing/spare.pem",
    "device/device.pem",
    "public/active.verify.pem",
    "public/spare.verify.pem",
    "public/device.public.pem",
]
posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh copy of a key folder."""
    shutil.copytree(key_folder(), tmp_path / "keys")
    return tmp_path / "keys"


LOADERS: dict[str, Callable[[Path], object]] = {
    "signing": keys.load_signing_key,
    "device": keys.load_device_keys,
    "verify": keys.load_verify_keys,
    "recipients": keys.load_recipients,
}


def problem(loader: str, folder: Path) -> str:
    with pytest.raises(KeyFileError) as caught:
        LOADERS[loader](folder)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{folder}/", "")


def put(path: Path, kind: Kind, raw: bytes) -> None:
    path.write_bytes(keys.encode_pem(kind, raw))
    path.chmod(0o600)


def test_keygen_makes_these_files_and_no_others(tmp_path: Path) -> None:
    made = keys.keygen(tmp_path / "new")

    found = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert sorted(made.paths) == sorted(found)
    assert sorted(found) == sorted(tmp_path / "new" / name for name in FILES)


@posix_only
def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    keys.keygen(tmp_path / "new")

    for name in ("signing", "device"):
        assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o700
    for name in FILES[:3]:
        assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o600


def test_every_role_loads_what_keygen_made(tmp_path: Path) -> None:
    made = keys.keygen(tmp_path)

    verify, device = keys.load_verify_keys(tmp_path), keys.load_device_keys(tmp_path)
    recipients = keys.load_recipients(tmp_path)
    assert [key.name for key in verify] == ["active", "spare"]
    assert [key.raw for key in recipients] == [key.public for key in device]
    for name, key_id in (
        *((key.name, key.key_id) for key in verify),
        *((key.name, key.key_id) for key in device),
        ("active", keys.load_signing_key(tmp_path).key_id),
        ("spare", keys.load_signing_key(tmp_path, "spare").key_id),
    ):
        assert made.fingerprints[name] == key_id


def test_two_runs_of_keygen_share_no_key(tmp_path: Path) -> None:
    first, second = keys.keygen(tmp_path / "a"), keys.keygen(tmp_path / "b")

    assert not set(first.fingerprints.values()) & set(second.fingerprints.values())


@pytest.mark.parametrize("name", FILES)
def test_keygen_replaces_nothing_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text("mine")

    with pytest.raises(KeyFileError, match="exists already"):
        keys.keygen(tmp_path)

    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]
    assert path.read_text() == "mine"


def test_keygen_leaves_nothing_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, calls = keys.files.create_exclusive, []

    def failing(path: Path, data: bytes, mode: int, *, durable: bool) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device", str(path))
        create(path, data, mode, durable=durable)

    monkeypatch.setattr(keys.files, "create_exclusive", failing)

    with pytest.raises(KeyFileError, match="No space left"):
        keys.keygen(tmp_path)

    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x5a"])
def test_keygen_refuses_the_output_of_a_dead_random_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: bytes
) -> None:
    monkeypatch.setattr(crypto, "draw", lambda size: fill * size)

    with pytest.raises(KeyFileError, match="blank key"):
        keys.keygen(tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_other_tools_read_our_files_and_we_read_theirs(folder: Path) -> None:
    for name in FILES[:3]:
        ours = (folder / name).read_bytes()
        loaded = load_pem_private_key(ours, None)
        theirs = loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        assert theirs == ours
        assert keys.decode_pem(theirs.replace(b"\n", b"\r\n"), name)
    for name in FILES[3:]:
        ours = (folder / name).read_bytes()
        theirs = load_pem_public_key(ours).public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        assert theirs == ours


def test_the_fingerprint_is_the_start_of_sha_256() -> None:
    assert keys.fingerprint(bytes(32)).hex() == "66687aadf862bd77"


def test_without_the_active_key_the_spare_signs(folder: Path) -> None:
    (folder / "signing/active.pem").unlink()

    assert keys.load_signing_key(folder).name == "spare"


def test_signing_needs_no_device_key_and_building_loaders_no_signing_key(folder: Path) -> None:
    shutil.rmtree(folder / "device")
    assert keys.load_signing_key(folder)
    assert keys.load_recipients(folder)

    shutil.copytree(key_folder() / "device", folder / "device")
    shutil.rmtree(folder / "signing")
    assert keys.load_device_keys(folder)
    assert keys.load_verify_keys(folder)


WRONG_PLACES = [
    ("signing", "device/device.pem", "signing/active.pem", "holds a private X25519 key"),
    ("signing", "device/device.pem", "signing/device.pem", "holds a private X25519 key"),
    ("signing", "public/active.verify.pem", "signing/active.pem", "holds a public Ed25519 key"),
    ("device", "signing/active.pem", "device/device.pem", "holds a private Ed25519 key"),
    ("device", "signing/active.pem", "device/other.pem", "holds a private Ed25519 key"),
    ("device", "public/device.public.pem", "device/device.pem", "holds a public X25519 key"),
    ("verify", "signing/active.pem", "public/active.verify.pem", "holds a private Ed25519 key"),
    ("verify", "device/device.pem", "public/device.public.pem", "holds a private X25519 key"),
    ("verify", "device/device.pem", "public/forgotten.pem", "holds a private X25519 key"),
    ("verify", "public/device.public.pem", "public/spare.verify.pem", "holds a public X25519 key"),
    ("recipients", "signing/active.pem", "public/x.pem", "holds a private Ed25519 key"),
    ("recipients", "public/spare.verify.pem", "public/device.public.pem", "a public Ed25519 key"),
]


@pytest.mark.parametrize(("loader", "source", "target", "text"), WRONG_PLACES)
def test_a_key_in_the_wrong_place_is_refused_by_name(
    folder: Path, loader: str, source: str, target: str, text: str
) -> None:
    shutil.copy(folder / source, folder / target)

    found = problem(loader, folder)

    assert found.startswith(f"{target}: ")
    assert text in found


@posix_only
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
@pytest.mark.parametrize(
    ("loader", "name"), [("signing", "signing/active.pem"), ("device", "device/device.pem")]
)
def test_a_secret_that_others_can_read_is_refused(
    folder: Path, loader: str, name: str, mode: int
) -> None:
    (folder / name).chmod(mode)

    assert "chmod 600" in problem(loader, folder)


PUBLISHED = keys.published_test_keys()
WEAK = [
    ("signing", "signing/active.pem", Kind.SIGNING, bytes(32), "blank key (all 0x00)"),
    ("signing", "signing/active.pem", Kind.SIGNING, b"\xff" * 32, "blank key (all 0xFF)"),
    ("device", "device/device.pem", Kind.DEVICE, bytes(32), "blank key (all 0x00)"),
    ("device", "device/device.pem", Kind.DEVICE, b"\xff" * 32, "blank key (all 0xFF)"),
    ("verify", "public/spare.verify.pem", Kind.VERIFY, bytes(32), "blank key (all 0x00)"),
    ("verify", "public/spare.verify.pem", Kind.VERIFY, b"\xff" * 32, "blank key (all 0xFF)"),
    ("recipients", "public/device.public.pem", Kind.RECIPIENT, bytes(32), "blank key"),
    ("recipients", "public/device.public.pem", Kind.RECIPIENT, b"\xff" * 32, "blank key"),
    *(
        ("signing", "signing/active.pem", Kind.SIGNING, PUBLISHED[name].secret, "published test")
        for name in ("active", "spare", "device")
    ),
    ("device", "device/device.pem", Kind.DEVICE, PUBLISHED["device2"].secret, "published test"),
    ("verify", "public/x.verify.pem", Kind.VERIFY, PUBLISHED["spare"].public, "published test"),
    ("recipients", "public/x.public.pem", Kind.RECIPIENT, PUBLISHED["device"].public, "published"),
]


@pytest.mark.parametrize(("loader", "name", "kind", "raw", "text"), WEAK)
def test_blank_and_published_keys_are_refused(
    folder: Path, loader: str, name: str, kind: Kind, raw: bytes, text: str
) -> None:
    put(folder / name, kind, raw)

    assert text in problem(loader, folder)


P = 2**255 - 19
Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7


@pytest.mark.parametrize("y", [1, P - 1, Y8, P - Y8, P, P + 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_verify_key_of_low_order_is_refused(folder: Path, y: int, sign: int) -> None:
    put(folder / "public/spare.verify.pem", Kind.VERIFY, (y | sign << 255).to_bytes(32, "little"))

    assert "public key of low order" in problem("verify", folder)


@pytest.mark.parametrize("u", [1, P - 1, P + 1])
def test_a_recipient_of_low_order_is_refused(folder: Path, u: int) -> None:
    put(folder / "public/device.public.pem", Kind.RECIPIENT, u.to_bytes(32, "little"))

    assert "public key of low order" in problem("recipients", folder)


def test_a_signing_key_that_no_loader_trusts_is_refused(folder: Path) -> None:
    put(folder / "signing/active.pem", Kind.SIGNING, crypto.draw())

    assert "no loader would trust the signature" in problem("signing", folder)


def test_the_same_key_twice_is_refused(folder: Path) -> None:
    shutil.copy(folder / "public/active.verify.pem", folder / "public/spare.verify.pem")

    assert "'active' and 'spare' are the same key" in problem("verify", folder)


@pytest.mark.parametrize(
    ("loader", "pattern", "kind", "limit"),
    [
        ("verify", "public/{}.verify.pem", Kind.VERIFY, 4),
        ("recipients", "public/{}.public.pem", Kind.RECIPIENT, 4),
        ("device", "device/{}.pem", Kind.DEVICE, 2),
    ],
)
def test_a_role_has_at_least_one_key_and_a_limit(
    folder: Path, loader: str, pattern: str, kind: Kind, limit: int
) -> None:
    for path in folder.glob(pattern.format("*")):
        path.unlink()
    assert f"expected 1 to {limit}" in problem(loader, folder)

    for number in range(limit):
        put(folder / pattern.format(number), kind, crypto.draw())
    assert LOADERS[loader](folder)

    put(folder / pattern.format("more"), kind, crypto.draw())
    assert f"expected 1 to {limit}" in problem(loader, folder)


def test_a_missing_signing_key_is_told_by_name(folder: Path) -> None:
    shutil.rmtree(folder / "signing")

    found = problem("signing", folder)

    assert "no active.pem or spare.pem, expected a signing key; see splitflash keygen" in found


def foreign_keys() -> list[tuple[str, bytes]]:
    plain = Encoding.PEM, PrivateFormat.PKCS8
    ed25519 = Ed25519PrivateKey.generate()
    locked = ed25519.private_bytes(*plain, BestAvailableEncryption(b"secret"))
    openssh = ed25519.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    good = ed25519.private_bytes(*plain, NoEncryption())
    return [
        ("elliptic curve", generate_private_key(SECP256R1()).private_bytes(*plain, NoEncryption())),
        ("encrypted", locked),
        ("OpenSSH", openssh),
        ("two in one", good + good),
        ("empty", b""),
        ("text", b"this is no key\n"),
        ("DER", base64.b64decode(b"".join(good.splitlines()[1:-1]))),
        ("cut", good[:60]),
        ("huge", b"-" * 5000),
    ]


@pytest.mark.parametrize(("name", "data"), foreign_keys(), ids=[n for n, _ in foreign_keys()])
def test_a_file_that_is_no_plain_key_is_refused(folder: Path, name: str, data: bytes) -> None:
    (folder / "signing/active.pem").write_bytes(data)

    assert problem("signing", folder).startswith("signing/active.pem: ")


@given(st.binary(max_size=200), st.sampled_from(["", "PRIVATE KEY", "PUBLIC KEY", "X"]))
@settings(max_examples=150, deadline=None)
def test_random_bytes_are_never_a_key(data: bytes, label: str) -> None:
    if label:
        body = base64.b64encode(data)
        data = f"-----BEGIN {label}-----\n".encode() + body + f"\n-----END {label}-----\n".encode()

    with pytest.raises(KeyFileError):
        keys.decode_pem(data, "file")


@given(st.integers(0, 118), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_key_file_is_an_error_or_another_key_never_a_crash(at: int, byte: int) -> None:
    data = bytearray(keys.encode_pem(Kind.SIGNING, bytes(range(32))))
    data[at] = byte

    with contextlib.suppress(KeyFileError):
        kind, raw = keys.decode_pem(bytes(data), "file")
        assert kind in (Kind.SIGNING, Kind.DEVICE)
        assert len(raw) == 32


def test_no_message_and_no_text_form_shows_a_secret(folder: Path) -> None:
    secret = keys.load_signing_key(folder).secret
    put(folder / "device/device.pem", Kind.SIGNING, secret)
    texts = [problem("device", folder), repr(keys.load_signing_key(folder))]

    for text in texts:
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode() not in text
        assert repr(secret) not in text
