"""Keys: made once, kept apart by role, loaded with suspicion.

    DIR/signing/{active,spare}.pem              Ed25519 secrets      whoever releases updates
    DIR/device/device.pem                       X25519 secret        whoever builds loaders
    DIR/public/{active,spare}.verify.pem        Ed25519 public       loader build
    DIR/public/device.public.pem                X25519 public        pack

A batch is a device key of its own name beside ``device``: ``device/NAME.pem`` and
``public/NAME.public.pem``. Which go into a loader, or can open an update, is chosen by name.

Files are PEM by RFC 8410 (PKCS #8 and SubjectPublicKeyInfo), as OpenSSL writes them. A key in the
wrong place, a blank one, one of low order and the published test keys are refused by every loader
below. No key is ever part of a message.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fnmatch
import functools
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple, TypeVar

from packager import crypto, files
from packager.chip import KIB
from packager.errors import FormatError, KeyFileError

KEY_SIZE = 32
"""Bytes of every raw key, secret or public."""
FINGERPRINT_SIZE = 8
"""Bytes of a fingerprint, which is also the key id in update headers and loaders."""
MAX_VERIFY_KEYS = 4
MAX_DEVICE_KEYS = 2
MAX_RECIPIENTS = 4
"""How many keys a loader, and an update, have room for."""
MAX_KEY_FILE_SIZE = 4 * KIB
BATCH_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
"""Lower case, so that two batches stay two files on every file system."""
_ROLES = ("active", "spare")
"""Names of signing keys, which nothing else may be called."""

PUBLISHED_STRING = "splitflash test key, published, never ship: "
"""A test secret is the SHA-256 of this string and its role; everybody knows these keys."""

PRIVATE_DIR_MODE = 0o700
PUBLIC_DIR_MODE = 0o777
"""Modes of made folders; the second is subject to the umask."""


class Kind(Enum):
    """What a key file can hold: PEM label and DER bytes before the raw key (RFC 8410 7 and 4)."""

    SIGNING = ("PRIVATE KEY", "302e020100300506032b657004220420", "a private Ed25519 key")
    DEVICE = ("PRIVATE KEY", "302e020100300506032b656e04220420", "a private X25519 key")
    VERIFY = ("PUBLIC KEY", "302a300506032b6570032100", "a public Ed25519 key")
    RECIPIENT = ("PUBLIC KEY", "302a300506032b656e032100", "a public X25519 key")

    def __init__(self, label: str, prefix: str, text: str) -> None:
        self.label = label
        self.prefix = bytes.fromhex(prefix)
        self.text = text

    @property
    def is_private(self) -> bool:
        """True for the half that has to stay secret."""
        return self.label == "PRIVATE KEY"


@dataclass(frozen=True)
class _SecretKey:
    name: str
    secret: bytes = field(repr=False)
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Fingerprint of the public half."""
        return fingerprint(self.public)


class SigningKey(_SecretKey):
    """Signs updates."""


class DeviceKey(_SecretKey):
    """Opens updates; built into loaders."""


@dataclass(frozen=True)
class _PublicKey:
    name: str
    raw: bytes

    @property
    def key_id(self) -> bytes:
        """Fingerprint of this key."""
        return fingerprint(self.raw)


class VerifyKey(_PublicKey):
    """Checks signatures; built into loaders."""


class Recipient(_PublicKey):
    """Public half of a device key: whom updates are encrypted for."""


class NewKeys(NamedTuple):
    """What :func:`keygen` made: every file, and the fingerprints by name."""

    paths: tuple[Path, ...]
    fingerprints: dict[str, bytes]


def fingerprint(public: bytes) -> bytes:
    """Return the first 8 bytes of SHA-256 of a raw public key."""
    return hashlib.sha256(public).digest()[:FINGERPRINT_SIZE]


def keygen(directory: Path) -> NewKeys:
    """Make two signing keys and a device key below ``directory``; never replaces a file.

    Raises:
        KeyFileError: a key is there already, or a file cannot be written; nothing is left then.
    """
    contents, fingerprints = _new_keys()
    return _write_new(directory, contents, fingerprints, "name a new folder")


def keygen_batch(directory: Path, name: str) -> NewKeys:
    """Make the device key of a batch beside the keys in ``directory``; never replaces a file.

    Raises:
        KeyFileError: no name of a batch, one that is taken, no keys in ``directory``, or a file
            cannot be written; nothing is left then.
    """
    if not re.fullmatch(BATCH_NAME, name, re.ASCII) or name in _ROLES:
        wanted = f"expected 1 to 32 of a-z 0-9 _ -, no sign first, not {' or '.join(_ROLES)}"
        raise KeyFileError(f"batch '{name}'", "no name for a batch", wanted, "choose another name")
    load_verify_keys(directory)  # a batch belongs to a product
    contents = _new_device_key(name)
    return _write_new(directory, *contents, "choose another name for the batch")


_Contents = dict[str, tuple[Kind, bytes]]
"""Files below a key folder: what each holds, and the raw key."""


def _write_new(
    directory: Path, contents: _Contents, fingerprints: dict[str, bytes], do: str
) -> NewKeys:
    """Write key files, all of them or none, and none that is there already."""
    for name, (kind, raw) in contents.items():
        refuse_weak_key(name, kind, raw)  # a broken random generator shows as a blank key
    paths = {directory / name: content for name, content in contents.items()}
    made: list[Path] = []
    try:
        for path in paths:
            if path.exists() or path.is_symlink():
                raise KeyFileError(str(path), "exists already", "keys are never replaced", do)
        for path, (kind, _) in paths.items():
            mode = PRIVATE_DIR_MODE if kind.is_private else PUBLIC_DIR_MODE
            path.parent.mkdir(mode, parents=True, exist_ok=True)
        for path, (kind, raw) in paths.items():
            mode = files.SECRET_MODE if kind.is_private else files.PUBLIC_MODE
            files.create_exclusive(path, encode_pem(kind, raw), mode, durable=True)
            made.append(path)
    except OSError as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        where = str(error.filename or directory)
        found = f"cannot be written ({error.strerror})"
        raise KeyFileError(where, found, "", "check folder and permissions") from error
    return NewKeys(tuple(paths), fingerprints)


def _new_keys() -> tuple[_Contents, dict[str, bytes]]:
    contents: _Contents = {}
    fingerprints = {}
    for name in _ROLES:
        secret = crypto.draw(KEY_SIZE)
        public = crypto.verify_key_of(secret)
        contents[f"signing/{name}.pem"] = (Kind.SIGNING, secret)
        contents[f"public/{name}.verify.pem"] = (Kind.VERIFY, public)
        fingerprints[name] = fingerprint(public)
    device, of_device = _new_device_key("device")
    return {**contents, **device}, {**fingerprints, **of_device}


def _new_device_key(name: str) -> tuple[_Contents, dict[str, bytes]]:
    secret = crypto.draw(KEY_SIZE)
    public = crypto.public_key_of(secret)
    contents = {
        f"device/{name}.pem": (Kind.DEVICE, secret),
        f"public/{name}.public.pem": (Kind.RECIPIENT, public),
    }
    return contents, {name: fingerprint(public)}


def load_signing_key(directory: Path, name: str | None = None) -> SigningKey:
    """Load ``signing/NAME.pem``; without a name ``active``, or ``spare`` if active is gone.

    Raises:
        KeyFileError: missing, readable by others, of the wrong kind, weak, or another key than
            the verify key of that name in public/.
    """
    folder = directory / "signing"
    if name is None:
        there = _listing(folder, "*.pem")
        names = [name for name in _ROLES if folder / f"{name}.pem" in there]
        if not names:
            raise KeyFileError(
                str(folder),
                "no active.pem or spare.pem",
                "expected a signing key",
                "see splitflash keygen",
            )
        name = names[0]
    _check_folder(folder, Kind.SIGNING)
    path = folder / f"{name}.pem"
    secret = _load(path, Kind.SIGNING)
    key = SigningKey(name, secret, crypto.verify_key_of(secret))
    twin = directory / "public" / f"{name}.verify.pem"
    if twin in _listing(twin.parent, twin.name) and _load(twin, Kind.VERIFY) != key.public:
        raise KeyFileError(
            str(path),
            f"its verify key is {key.key_id.hex()}",
            f"{twin} holds another one, so no loader would trust the signature",
            "restore the pair from one keygen",
        )
    return key


def load_device_keys(directory: Path, names: Sequence[str] = ()) -> list[DeviceKey]:
    """Load the device keys of a loader: those named, else every ``device/*.pem``; 1 or 2, by name.

    Raises:
        KeyFileError: none, too many, unknown or named twice; or see :func:`load_every_device_key`.
    """
    found = load_every_device_key(directory)
    return choose_keys(found, names, LOADER_ROOM, directory / "device")


def load_every_device_key(directory: Path) -> list[DeviceKey]:
    """Load every ``device/*.pem`` by name, however many batches there are.

    Raises:
        KeyFileError: none, readable by others, of the wrong kind, or weak.
    """
    folder = directory / "device"
    _check_folder(folder, Kind.DEVICE)
    paths = _some(folder, "*.pem", MAX_DEVICE_KEYS)
    secrets = {path: _load(path, Kind.DEVICE) for path in paths}
    keys = [DeviceKey(path.stem, raw, crypto.public_key_of(raw)) for path, raw in secrets.items()]
    _refuse_twins(folder, ((key.name, key.public) for key in keys))
    return keys


def load_verify_keys(directory: Path) -> list[VerifyKey]:
    """Load every ``public/*.verify.pem``, 1 to 4 of them, by name.

    Raises:
        KeyFileError: none, too many, of the wrong kind, or weak.
    """
    found = _load_public(directory, Kind.VERIFY, ".verify.pem", MAX_VERIFY_KEYS)
    if len(found) > MAX_VERIFY_KEYS:
        raise KeyFileError(
            str(directory / "public"),
            f"{len(found)} files *.verify.pem",
            f"expected 1 to {MAX_VERIFY_KEYS}",
            "move the others away",
        )
    return [VerifyKey(name, raw) for name, raw in found]


def load_recipients(directory: Path, names: Sequence[str] = ()) -> list[Recipient]:
    """Load the recipients of an update: those named, else every ``public/*.public.pem``; 1 to 4.

    Raises:
        KeyFileError: none, too many, unknown or named twice; or see :func:`load_every_recipient`.
    """
    found = load_every_recipient(directory)
    return choose_keys(found, names, UPDATE_ROOM, directory / "public")


def load_every_recipient(directory: Path) -> list[Recipient]:
    """Load every ``public/*.public.pem`` by name, however many batches there are.

    Raises:
        KeyFileError: none, of the wrong kind, or weak.
    """
    found = _load_public(directory, Kind.RECIPIENT, ".public.pem", MAX_RECIPIENTS)
    return [Recipient(name, raw) for name, raw in found]


class Room(NamedTuple):
    """How many keys fit into something, and the option that chooses among more."""

    limit: int
    of: str
    option: str


LOADER_ROOM = Room(MAX_DEVICE_KEYS, "a loader", "--batch")
UPDATE_ROOM = Room(MAX_RECIPIENTS, "an update", "--to")
_Named = TypeVar("_Named", DeviceKey, Recipient)


def choose_keys(
    found: list[_Named], names: Sequence[str], room: Room, folder: Path
) -> list[_Named]:
    """Return the keys of these names, or all of them if there is no name.

    Raises:
        KeyFileError: an unknown name, one named twice, or more keys than there is room for.
    """
    there = f"there are: {_listed(found)}"
    for name in names:
        if name not in {key.name for key in found}:
            raise KeyFileError(str(folder), f"no key '{name}'", there, "name one of these")
        if names.count(name) > 1:
            raise KeyFileError(str(folder), f"'{name}' named twice", there, "name each key once")
    chosen = [key for key in found if key.name in names] if names else found
    if len(chosen) > room.limit:
        raise KeyFileError(
            str(folder),
            f"{len(chosen)} keys{' named' if names else ''} ({_listed(chosen)})",
            f"{room.of} has room for {room.limit}, expected 1 to {room.limit}",
            f"name at most {room.limit}" if names else f"choose with {room.option}",
        )
    return chosen


def _listed(keys: Sequence[DeviceKey] | Sequence[Recipient]) -> str:
    """Name keys, of a great many only the first."""
    names = [key.name for key in keys]
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join(names[:_MOST_NAMED] + more)


_MOST_NAMED = 20


@functools.cache
def published_test_keys() -> dict[str, SigningKey | DeviceKey]:
    """Return the test keys that everybody can derive; no loader below ever accepts them."""
    signing = {name: _published(name) for name in ("active", "spare")}
    device = {name: _published(name) for name in ("device", "device2")}
    return {
        **{name: SigningKey(name, key, crypto.verify_key_of(key)) for name, key in signing.items()},
        **{name: DeviceKey(name, key, crypto.public_key_of(key)) for name, key in device.items()},
    }


def refuse_weak_key(where: str, kind: Kind, raw: bytes) -> None:
    """Return only if a raw key is not blank, not published and not of low order.

    Raises:
        KeyFileError: it is one of these.
    """
    do = "make keys with splitflash keygen"
    if len(set(raw)) == 1:
        found = f"blank key (all 0x{raw[0]:02X})"
        raise KeyFileError(where, found, "expected a random one", do)
    published = published_test_keys().values()
    if any(raw in (key.secret, key.public) for key in published):
        raise KeyFileError(where, "published test key", "expected a key nobody else has", do)
    if not kind.is_private and is_low_order(kind, raw):
        raise KeyFileError(where, "public key of low order", "expected one of the full group", do)


def is_low_order(kind: Kind, public: bytes) -> bool:
    """Tell whether a public key generates only a handful of points, so that it proves nothing."""
    coordinate = int.from_bytes(public, "little") & ((1 << 255) - 1)
    low = _LOW_ORDER_ED25519 if kind is Kind.VERIFY else _LOW_ORDER_X25519
    return coordinate % _P in low


def encode_pem(kind: Kind, raw: bytes) -> bytes:
    """Return the PEM text of a raw key (one line of base64: 48 or 44 bytes of DER)."""
    body = base64.b64encode(kind.prefix + raw).decode()
    return f"-----BEGIN {kind.label}-----\n{body}\n-----END {kind.label}-----\n".encode()


def decode_pem(data: bytes, where: str) -> tuple[Kind, bytes]:
    """Return what a PEM file holds: the kind and the raw 32 bytes.

    Raises:
        KeyFileError: not exactly one plain Ed25519 or X25519 key.
    """
    blocks = _PEM.findall(data)
    expected = "expected one plain PEM key, Ed25519 or X25519 (RFC 8410)"
    if len(blocks) != 1:
        found = f"{len(blocks)} PEM blocks" if blocks else "no PEM key"
        raise KeyFileError(where, found, expected, "make keys with splitflash keygen")
    label, body = blocks[0][0].decode(), blocks[0][1]
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise KeyFileError(where, "damaged base64", expected, "restore the file") from error
    for kind in Kind:
        if label == kind.label and der.startswith(kind.prefix):
            raw = der[len(kind.prefix) :]
            if len(raw) == KEY_SIZE:
                return kind, raw
    raise KeyFileError(where, f"a '{label}' of another kind", expected, "use another key file")


_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\s([A-Za-z0-9+/=\s]*?)\s-----END \1-----")

_P = 2**255 - 19
# The y of all points of order 1, 2, 4 and 8 on edwards25519; both signs of x share them.
_Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_LOW_ORDER_ED25519 = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})
# The u of the same points on curve25519, u = (1 + y) / (1 - y), and -1, of order 4 on its twist.
_LOW_ORDER_X25519 = frozenset(
    {_P - 1, *((1 + y) * pow(1 - y, -1, _P) % _P for y in (0, _P - 1, _Y8, _P - _Y8))}
)


def _published(role: str) -> bytes:
    return hashlib.sha256((PUBLISHED_STRING + role).encode()).digest()


def _load_public(directory: Path, kind: Kind, suffix: str, limit: int) -> list[tuple[str, bytes]]:
    folder = directory / "public"
    for path in _listing(folder, "*.pem"):
        found, _ = _read(path)
        if found.is_private:
            raise KeyFileError(
                str(path),
                f"holds {found.text}",
                "expected public keys only, because public/ is handed around",
                "move it out, and if anybody else saw it make new keys",
            )
    paths = _some(folder, f"*{suffix}", limit)
    keys = [(path.name.removesuffix(suffix), _load(path, kind)) for path in paths]
    _refuse_twins(folder, keys)
    return keys


def _check_folder(folder: Path, kind: Kind) -> None:
    """Refuse every key in a folder that belongs elsewhere."""
    for path in _listing(folder, "*.pem"):
        _load(path, kind)


def _some(folder: Path, pattern: str, limit: int) -> list[Path]:
    paths = _listing(folder, pattern)
    if not paths:
        found, do = f"0 files {pattern}", "make keys with splitflash keygen"
        raise KeyFileError(str(folder), found, f"expected 1 to {limit}", do)
    return paths


def _listing(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder by name; unlike a glob, tell a closed folder from an empty one.

    Raises:
        KeyFileError: the folder is there and cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return []
    except OSError as error:
        found = f"cannot be read ({error.strerror or error})"
        expected, do = "expected a folder of keys", "check the path and its permissions"
        raise KeyFileError(str(folder), found, expected, do) from error
    return sorted(folder / name for name in fnmatch.filter(names, pattern))


def _refuse_twins(folder: Path, keys: Iterable[tuple[str, bytes]]) -> None:
    names: dict[bytes, str] = {}
    for name, raw in keys:
        if raw in names:
            found = f"'{names[raw]}' and '{name}' are the same key"
            raise KeyFileError(str(folder), found, "expected one file for each key", "remove one")
        names[raw] = name


def _load(path: Path, kind: Kind) -> bytes:
    found, raw = _read(path)
    if found is not kind:
        raise KeyFileError(
            str(path), f"holds {found.text}", f"expected {kind.text}", _where_it_belongs(found)
        )
    if kind.is_private:
        _refuse_readable_by_others(path)
    refuse_weak_key(str(path), kind, raw)
    return raw


def _read(path: Path) -> tuple[Kind, bytes]:
    try:
        data = files.read_file(path, MAX_KEY_FILE_SIZE)
    except FormatError as error:
        raise KeyFileError(error.where, error.found, "expected a PEM key", "restore it") from error
    return decode_pem(data, str(path))


def _where_it_belongs(kind: Kind) -> str:
    place = {
        Kind.SIGNING: "signing/NAME.pem",
        Kind.DEVICE: "device/NAME.pem",
        Kind.VERIFY: "public/NAME.verify.pem",
        Kind.RECIPIENT: "public/NAME.public.pem",
    }[kind]
    return f"keep such a key in {place}"


def _refuse_readable_by_others(path: Path) -> None:
    """Like ssh: a secret with group or world bits is refused (POSIX only)."""
    if os.name != "posix":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyFileError(
            str(path), f"mode {mode:04o} lets others at it", "expected 0600", f"chmod 600 {path}"
        )
