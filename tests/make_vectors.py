"""Makes the committed test vectors: ``python tests/make_vectors.py`` writes tests/vectors/.

Keys, nonces and images follow from published strings, so everybody can make the same bytes again;
no loader and no key folder accepts these keys. The files change together with ``format_version``
and never otherwise.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.keys import PUBLISHED_STRING, Recipient, published_test_keys
from packager.layout import load_layout
from packager.update import Secrets, UpdatePlan, seal_update, update_id

FOLDER = Path(__file__).parent / "vectors"


@dataclass(frozen=True)
class Vector:
    """What one vector is made of."""

    name: str
    layout: str
    signer: str
    recipients: tuple[str, ...]
    image_size: int
    chunk_size: int
    version: int = 0x0102_0003
    counter: int = 7
    flags: int = 0


VECTORS = (
    Vector("smallest", "bank2", "active", ("device",), 12, 1024),
    Vector("whole_chunks", "bank2", "active", ("device",), 2048, 1024),
    Vector("short_last_chunk", "bank2", "spare", ("device2", "device"), 2500, 1024, flags=1),
    Vector("largest_chunks", "bank1", "active", ("device",), 20_000, 16_384),
    Vector("extremes", "bank1", "spare", ("device2",), 1025, 1024, 0xFFFF_FFFF, 0xFFFF_FFFF),
)


def derive(role: str) -> bytes:
    """Return 32 bytes everybody can derive."""
    return hashlib.sha256((PUBLISHED_STRING + role).encode()).digest()


def image_of(vector: Vector, app_start: int) -> bytes:
    """Return the image: SP at the end of DTCM, reset handler at byte 8, then a hash stream."""
    vectors = (0x2002_0000).to_bytes(4, "little") + (app_start + 9).to_bytes(4, "little")
    rest = hashlib.shake_128(vector.name.encode()).digest(vector.image_size - 8)
    return vectors + rest


def make(vector: Vector) -> tuple[bytes, dict[str, Any]]:
    """Return the update and what a reader must find in it."""
    keys = published_test_keys()
    layout = load_layout(FOLDER / f"{vector.layout}.yaml")
    recipients = tuple(Recipient(name, keys[name].public) for name in vector.recipients)
    plan = UpdatePlan(
        layout,
        keys[vector.signer],  # type: ignore[arg-type]
        recipients,
        vector.version,
        vector.counter,
        vector.flags,
        vector.chunk_size,
    )
    image = image_of(vector, layout.app.start)
    secrets = Secrets(
        cek=derive(f"{vector.name} content key"),
        base_nonce=derive(f"{vector.name} base nonce")[:12],
        ephemeral_secret=derive(f"{vector.name} ephemeral"),
    )
    update = seal_update(image, plan, secrets)
    return update, {
        "file": f"{vector.name}.update.bin",
        "layout": f"{vector.layout}.yaml",
        "signer": vector.signer,
        "recipients": list(vector.recipients),
        "version": vector.version,
        "security_counter": vector.counter,
        "flags": vector.flags,
        "chunk_size": vector.chunk_size,
        "image_size": vector.image_size,
        "image_sha256": hashlib.sha256(image).hexdigest(),
        "update_id": update_id(update).hex(),
        "update_sha256": hashlib.sha256(update).hexdigest(),
    }


def main() -> None:
    """Write every vector and their list."""
    made = [make(vector) for vector in VECTORS]
    for update, facts in made:
        (FOLDER / facts["file"]).write_bytes(update)
    listed = json.dumps([facts for _, facts in made], indent=2)
    (FOLDER / "vectors.json").write_text(listed + "\n")


if __name__ == "__main__":
    main()
