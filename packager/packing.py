"""From an application file to an update file: what ``splitflash pack`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from packager import update_file
from packager.errors import LayoutError
from packager.format import pack_version
from packager.image import load_image
from packager.keys import Recipient, SigningKey, load_recipients, load_signing_key
from packager.layout import Layout, load_layout
from packager.update import build_update, header_field, update_id


class Packed(NamedTuple):
    """What was made, and by whom and for whom."""

    update: bytes
    paths: tuple[Path, ...]
    image_size: int
    counter: int
    layout: Layout
    signing_key: SigningKey
    recipients: tuple[Recipient, ...]

    @property
    def image_digest(self) -> bytes:
        """BLAKE2b-256 of the image."""
        return header_field(self.update, "image_digest")

    @property
    def update_id(self) -> bytes:
        """Identity of the update."""
        return update_id(self.update)


def pack(
    app: Path,
    layout_path: Path,
    keys_dir: Path,
    output: Path,
    *,
    version: str,
    counter: int | None = None,
    allow_downgrade: bool = False,
    signing_key: str | None = None,
    to: Sequence[str] = (),
    all_forms: bool = False,
) -> Packed:
    """Pack an application; ``output`` is a file, or a folder for every form with ``all_forms``.

    Needs signing/ and public/ of the keys, never device/. The counter is the layout's unless
    given; the batches it is encrypted ``to`` are all there are, unless named.

    Raises:
        PackagerError: any of layout, keys, image or output is not as it has to be; then no
            output file is left.
    """
    version_number = pack_version(version)
    layout = load_layout(layout_path)
    counter = required_counter(counter, layout)
    key = load_signing_key(keys_dir, signing_key)
    recipients = load_recipients(keys_dir, to)
    image = load_image(app, layout).data
    update = build_update(image, layout, key, recipients, version_number, counter, allow_downgrade)
    if all_forms:
        paths = tuple(update_file.write_all_forms(output, update))
    else:
        update_file.write_update(output, update)
        paths = (output,)
    return Packed(update, paths, len(image), counter, layout, key, tuple(recipients))


def required_counter(counter: int | None, layout: Layout) -> int:
    """Return the given security counter, else the layout's.

    Raises:
        LayoutError: there is neither; it is never guessed.
    """
    if counter is None:
        counter = layout.security_counter
    if counter is None:
        raise LayoutError(
            str(layout.path),
            "no security_counter",
            "expected a number that rises whenever older updates must be refused",
            "give --counter or add 'security_counter:' to the layout",
        )
    return counter
