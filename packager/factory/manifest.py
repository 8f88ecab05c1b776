"""The manifest of a production run: what went into which serials, signed by the maker.

A JSON file, and beside it in hexadecimal an Ed25519 signature (RFC 8032) over ``MANIFEST_DOMAIN``
and the bytes of the file. Read back, nothing of the JSON is looked at before the signature is good.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from packager import crypto
from packager.errors import AuthenticationError, FormatError, RefusedError
from packager.factory import check_key_folder
from packager.factory.file import FACTORY_LIMIT, FactoryFile
from packager.factory.serials import check_serial
from packager.files import read_file
from packager.format import (
    DIGEST_SIZE,
    KEY_ID_SIZE,
    MANIFEST_DOMAIN,
    SIGNATURE_SIZE,
    field_text,
    pack_version,
    version_text,
)
from packager.keys import SigningKey, VerifyKey, load_every_recipient, load_verify_keys
from packager.layout import Layout

FORMAT = "splitflash factory manifest 1"
MANIFEST_NAME = "manifest.json"
SIGNATURE_SUFFIX = ".sig"
MANIFEST_LIMIT = 16 << 20
"""Bytes: the serials come from a file of at most 4 MiB; escapes double them at most."""
_DO = "give the file made by 'splitflash factory manifest'"


@dataclass(frozen=True)
class Manifest:
    """What a production run made; ids, digests and keys are bytes here and hexadecimal in JSON."""

    product_id: str
    product_name: str
    layout_id: bytes
    loader_version: int
    version: int
    security_counter: int
    image_size: int
    image_digest: bytes
    factory_sha256: bytes
    """SHA-256 of the factory file."""
    verify_keys: tuple[bytes, ...]
    device_keys: tuple[bytes, ...]
    """Fingerprints of the keys in the loader."""
    batch: tuple[str, ...]
    """Names of the device keys."""
    signed_by: bytes
    """Fingerprint of the verify key."""
    serials: tuple[str, ...]


def make_manifest(
    serials: Sequence[str],
    factory: FactoryFile,
    layout: Layout,
    keys_dir: Path,
    signing_key: SigningKey,
) -> Manifest:
    """Return the manifest of these serials, all programmed with one factory image.

    Raises:
        RefusedError: the factory image holds a loader with other keys.
        KeyFileError: a key is not as it should be.
    """
    check_key_folder(factory.loader, keys_dir)
    info, record = factory.loader.info, factory.record
    names = {key.key_id: key.name for key in load_every_recipient(keys_dir)}
    return Manifest(
        product_id=layout.product_id,
        product_name=field_text(info.product_name),
        layout_id=info.layout_id,
        loader_version=info.loader_version,
        version=record.version,
        security_counter=record.security_counter,
        image_size=record.image_size,
        image_digest=record.image_digest,
        factory_sha256=factory.sha256,
        verify_keys=info.verify_key_ids,
        device_keys=info.device_key_ids,
        batch=tuple(names[key_id] for key_id in info.device_key_ids),
        signed_by=signing_key.key_id,
        serials=tuple(serials),
    )


def sign_manifest(manifest: bytes, signing_key: SigningKey) -> bytes:
    """Return the 64-byte signature of the bytes of a manifest."""
    return crypto.sign(signing_key.secret, MANIFEST_DOMAIN + manifest)


def signed_files(manifest: Manifest, signing_key: SigningKey) -> dict[str, bytes]:
    """Return manifest and signature by the names that their files have."""
    data = render_manifest(manifest)
    signature = sign_manifest(data, signing_key).hex() + "\n"
    return {MANIFEST_NAME: data, MANIFEST_NAME + SIGNATURE_SUFFIX: signature.encode()}


def signature_path(manifest: Path) -> Path:
    """Return where the signature of a manifest lies."""
    return manifest.with_name(manifest.name + SIGNATURE_SUFFIX)


class Verified(NamedTuple):
    """A manifest with a good signature, and the key that it is good for."""

    manifest: Manifest
    key: VerifyKey


def verify_manifest(path: Path, keys_dir: Path) -> Verified:
    """Read a manifest and the signature beside it; nothing is returned unless it is good.

    Raises:
        FormatError: no manifest, or no signature beside it.
        AuthenticationError: the signature is not that of these bytes by one of these keys.
        KeyFileError: a verify key is missing or unsafe.
    """
    keys = load_verify_keys(keys_dir)
    data = read_file(path, MANIFEST_LIMIT)
    signature = _read_signature(signature_path(path))
    key = next((key for key in keys if _is_good(key, signature, data)), None)
    if key is None:
        raise AuthenticationError(
            str(path),
            "its signature does not verify",
            "with any key of public/: " + ", ".join(key.key_id.hex() for key in keys),
            "take manifest, signature and keys from their maker again",
        )
    manifest = parse_manifest(data, str(path))
    if manifest.signed_by != key.key_id:
        found = f"names {manifest.signed_by.hex()} as its signer"
        raise FormatError(str(path), found, f"expected {key.key_id.hex()}", "report this")
    return Verified(manifest, key)


def check_factory_file(manifest: Manifest, path: Path) -> None:
    """Return only if a factory file is the one of the manifest, byte for byte.

    Raises:
        FormatError: it cannot be read.
        RefusedError: it is another one.
    """
    sha256 = hashlib.sha256(read_file(path, FACTORY_LIMIT)).digest()
    if sha256 != manifest.factory_sha256:
        raise RefusedError(
            str(path),
            f"has SHA-256 {sha256.hex()}",
            f"the manifest names {manifest.factory_sha256.hex()}",
            "give the factory image of this production run",
        )


def _is_good(key: VerifyKey, signature: bytes, data: bytes) -> bool:
    try:
        crypto.verify(key.raw, signature, MANIFEST_DOMAIN + data)
    except crypto.CryptoMismatch:
        return False
    return True


def _read_signature(path: Path) -> bytes:
    data = read_file(path, 4 * SIGNATURE_SIZE)
    if not re.fullmatch(rb"[0-9a-f]{%d}\r?\n?" % (2 * SIGNATURE_SIZE), data):
        expected = f"expected {2 * SIGNATURE_SIZE} hexadecimal digits"
        raise FormatError(str(path), "no signature of a manifest", expected, _DO)
    return bytes.fromhex(data.decode())


# -- JSON -----------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """How a field stands in JSON; ``load`` raises ValueError for anything else."""

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def _hex(size: int) -> _Kind:
    def load(value: Any) -> bytes:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]*", value):
            raise ValueError("hexadecimal digits")
        if len(value) != 2 * size:
            raise ValueError(f"{size} bytes in hexadecimal")
        return bytes.fromhex(value)

    return _Kind(bytes.hex, load)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("text that prints")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError("a number of 32 bits")
    return value


def _version(value: Any) -> int:
    try:
        return pack_version(_text(value))
    except FormatError as error:
        raise ValueError("a version like 1.4.2") from error


def _list_of(kind: _Kind) -> _Kind:
    def load(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError("a list")
        return tuple(kind.load(one) for one in value)

    return _Kind(lambda values: [kind.dump(one) for one in values], load)


def _serial(value: Any) -> str:
    try:
        check_serial(_text(value), "serial")
    except FormatError as error:
        raise ValueError(f"serials, not a {error.found}") from error
    return str(value)


def _same(value: Any) -> Any:
    return value


_TEXT = _Kind(_same, _text)
_NUMBER = _Kind(_same, _number)
_VERSION = _Kind(version_text, _version)
_KEY_ID = _hex(KEY_ID_SIZE)
_KINDS: dict[str, _Kind] = {
    "product_id": _TEXT,
    "product_name": _TEXT,
    "layout_id": _hex(16),
    "loader_version": _VERSION,
    "version": _VERSION,
    "security_counter": _NUMBER,
    "image_size": _NUMBER,
    "image_digest": _hex(DIGEST_SIZE),
    "factory_sha256": _hex(32),
    "verify_keys": _list_of(_KEY_ID),
    "device_keys": _list_of(_KEY_ID),
    "batch": _list_of(_TEXT),
    "signed_by": _KEY_ID,
    "serials": _list_of(_Kind(_same, _serial)),
}


def render_manifest(manifest: Manifest) -> bytes:
    """Return the JSON of a manifest, the same bytes for the same manifest."""
    values = {name: kind.dump(getattr(manifest, name)) for name, kind in _KINDS.items()}
    text = json.dumps({"format": FORMAT, **values}, indent=1, ensure_ascii=False)
    return (text + "\n").encode()


def parse_manifest(data: bytes, where: str = "manifest") -> Manifest:
    """Read the JSON of a manifest; checks form only, never a signature.

    Raises:
        FormatError: no JSON, another format, or a field that is missing, unknown or out of form.
    """
    try:
        values = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise FormatError(where, f"no manifest ({error})", "expected JSON", _DO) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise FormatError(where, "no manifest", f"expected the format '{FORMAT}'", _DO)
    names = {"format", *_KINDS}
    for name in sorted(names ^ set(values)):
        found = f"field {name!a} is {'missing' if name in names else 'unknown'}"
        raise FormatError(where, found, "expected the fields of this version", _DO)
    loaded = {}
    for name, kind in _KINDS.items():
        try:
            loaded[name] = kind.load(values[name])
        except ValueError as error:
            raise FormatError(where, f"field '{name}'", f"expected {error}", _DO) from error
    if len(set(loaded["serials"])) != len(loaded["serials"]):
        raise FormatError(where, "a serial is there twice", "expected each once", _DO)
    if len(loaded["batch"]) != len(loaded["device_keys"]):
        raise FormatError(where, "a device key without a name", "expected one for each", _DO)
    return Manifest(**{field.name: loaded[field.name] for field in fields(Manifest)})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is there twice")
    return values
