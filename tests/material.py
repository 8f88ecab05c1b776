"""Layouts, images and keys that the tests of the packing side share."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path

from packager import crypto, keys
from packager.layout import Layout, load_layout
from packager.update import UpdatePlan, build_update

ROOT = Path(__file__).parent.parent
DEFAULT_LAYOUT = ROOT / "layouts" / "h743zi_app_bank2.yaml"
DTCM_END = 0x2002_0000


@functools.cache
def layout() -> Layout:
    return load_layout(DEFAULT_LAYOUT)


@functools.cache
def mirror_layout() -> Layout:
    return load_layout(ROOT / "layouts" / "h743zi_app_bank1.yaml")


def image(size: int, start: int = 0x0810_0000, seed: str = "image") -> bytes:
    """Return an image with a plausible vector table; the rest is a hash stream of the seed."""
    vectors = DTCM_END.to_bytes(4, "little") + (start + 9).to_bytes(4, "little")
    return (vectors + hashlib.shake_128(seed.encode()).digest(size))[:size]


class KeySet:
    """Keys of one product in memory, new in every run."""

    def __init__(self) -> None:
        self.signing = [self._signing(name) for name in ("active", "spare")]
        self.device = [self._device(name) for name in ("device", "device2")]

    @staticmethod
    def _signing(name: str) -> keys.SigningKey:
        secret = crypto.draw()
        return keys.SigningKey(name, secret, crypto.verify_key_of(secret))

    @staticmethod
    def _device(name: str) -> keys.DeviceKey:
        secret = crypto.draw()
        return keys.DeviceKey(name, secret, crypto.public_key_of(secret))

    @property
    def verify(self) -> list[keys.VerifyKey]:
        return [keys.VerifyKey(key.name, key.public) for key in self.signing]

    @property
    def recipients(self) -> list[keys.Recipient]:
        return [keys.Recipient(key.name, key.public) for key in self.device]

    def plan(self, version: int = 0x0104_0002, counter: int = 3, **changes: object) -> UpdatePlan:
        values = {
            "layout": layout(),
            "signing_key": self.signing[0],
            "recipients": tuple(self.recipients[:1]),
            "version": version,
            "counter": counter,
        }
        return UpdatePlan(**{**values, **changes})  # type: ignore[arg-type]


@functools.cache
def key_set() -> KeySet:
    return KeySet()


@functools.cache
def update(size: int = 20_000) -> bytes:
    """Return an update for the default layout and the keys of :func:`key_set`."""
    own = key_set()
    return build_update(
        image(size), layout(), own.signing[0], own.recipients[:1], version=0x0104_0002, counter=3
    )


@functools.cache
def key_folder() -> Path:
    """Return a key folder as keygen makes it; tests that change it work on a copy."""
    folder = Path(tempfile.mkdtemp(prefix="splitflash-test-keys-"))
    keys.keygen(folder)
    return folder
