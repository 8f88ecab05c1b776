"""What is in a kit: the update in every form, scripts, checksums, and one page that explains it.

The texts are the files in ``templates/``; ``@{name}`` in them is filled in. Everything a script or
the page says of an update is computed here, once.
"""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import NamedTuple

from packager.chip import CHIPS, KIB, Chip
from packager.dfu.advice import UDEV_FILE, UDEV_RULE
from packager.errors import FormatError, RefusedError
from packager.format import Recovery, field_text, version_text
from packager.kit.silence import Silence, silence
from packager.kit.ways_in import ROM, WayIn, way_in
from packager.layout import Layout, Usb
from packager.update import check_target
from packager.update_file import UpdateFile, default_stem, encode

HOWTO = "HOWTO.html"
SUMS = "SHA256SUMS"
CUBE_BAT = "install-with-cubeprogrammer.bat"
CUBE_SH = "install-with-cubeprogrammer.sh"
DFU_UTIL_SH = "install-with-dfu-util.sh"

TRANSFER_SIZE = 1024
"""Bytes the ROM moves at once; dfu-util's last, shorter block may be read from elsewhere."""

_SAFE_PRODUCT = re.compile(rb"[a-z0-9][a-z0-9._-]{0,15}\0*")


@dataclass(frozen=True)
class Kit:
    """Everything the texts say about an update and its product."""

    update: bytes
    stem: str
    product_id: str
    product_name: str
    version: str
    staging_address: int
    staging_bank: int
    silence: Silence
    way_in: WayIn = ROM

    @property
    def dfu_util_is_safe(self) -> bool:
        """Stock dfu-util waits for ever when some ROM versions erase bank 2."""
        return self.staging_bank == 1 or self.way_in is not ROM


class KitFile(NamedTuple):
    """One file of a kit."""

    data: bytes
    executable: bool = False


def plan_kit(found: UpdateFile, layout: Layout | None, where: str) -> Kit:
    """Return what the texts have to say; without a layout, what the update itself tells.

    Raises:
        FormatError: a product or chip that no layout could have.
        RefusedError: the update is not for this layout, or the layout leaves no USB door open.
    """
    header = found.header
    if not _SAFE_PRODUCT.fullmatch(header.product_id):
        found_product = f"product '{field_text(header.product_id)}'"
        raise FormatError(where, found_product, "expected a-z 0-9 . _ -", "pack it again")
    chip = _chip_of(header.chip, where)
    app_bank = chip.bank_of(header.app_address)
    staging_bank = chip.bank_of(found.address)
    if app_bank is None or staging_bank is None:
        address = found.address if staging_bank is None else header.app_address
        raise FormatError(where, f"0x{address:08X} is not in flash", "", "pack it again")
    app_size = chip.banks[app_bank - 1].end - header.app_address
    if layout is not None:
        check_target(found.data, layout, where)
        _check_door(layout)
        app_size = layout.app.size
    product_id = field_text(header.product_id)
    return Kit(
        update=found.data,
        stem=default_stem(found.data),
        product_id=product_id,
        product_name=layout.product_name if layout else product_id,
        version=version_text(header.version),
        staging_address=found.address,
        staging_bank=staging_bank,
        silence=silence(header.image_size, app_size),
        way_in=way_in(layout),
    )


def kit_files(kit: Kit) -> dict[str, KitFile]:
    """Return every file of a kit by its name, the checksums last."""
    forms = {form: encode(kit.update, form) for form in ("hex", "dfu", "bin")}
    values = _values(kit, forms["hex"])
    files = {f"{kit.stem}.{form}": KitFile(data) for form, data in forms.items()}
    files[CUBE_BAT] = KitFile(_fill(CUBE_BAT, values).replace("\n", "\r\n").encode("ascii"))
    files[CUBE_SH] = KitFile(_fill(CUBE_SH, values).encode("ascii"), executable=True)
    if kit.dfu_util_is_safe:
        files[DFU_UTIL_SH] = KitFile(_fill(DFU_UTIL_SH, values).encode("ascii"), executable=True)
    files[HOWTO] = KitFile(_howto(kit, values).encode("utf-8"))
    sums = "".join(
        f"{hashlib.sha256(file.data).hexdigest()}  {name}\n" for name, file in files.items()
    )
    files[SUMS] = KitFile(sums.encode("ascii"))
    return files


def _chip_of(chip_id: int, where: str) -> Chip:
    for chip in CHIPS.values():
        if chip.chip_id == chip_id:
            return chip
    raise FormatError(where, f"chip 0x{chip_id:08X}", "a known chip", "update splitflash")


def _check_door(layout: Layout) -> None:
    """A kit explains the door of the ROM, shut on a read-protected product, or of the loader."""
    usual = Usb()
    ids = (layout.usb.vid, layout.usb.pid)
    if layout.recovery is Recovery.DFU and ids != (usual.vid, usual.pid):
        raise RefusedError(
            str(layout.path),
            f"usb ids {ids[0]:04x}:{ids[1]:04x}",
            f"the programs a customer has look for {usual.vid:04x}:{usual.pid:04x}",
            "give the customer splitflash (drop finds it), or leave out vid and pid",
        )
    if layout.rdp >= 1 and layout.recovery is not Recovery.DFU:
        raise RefusedError(
            str(layout.path),
            f"rdp {layout.rdp}: this product ships read-protected",
            "the ROM bootloader behind BOOT0 takes no update there, and removing the protection"
            " erases the device",
            "let the application write staging; a kit is for products with rdp: 0 or with"
            " recovery: dfu",
        )


def _values(kit: Kit, hex_file: bytes) -> dict[str, str]:
    size = len(kit.update)
    return {
        "stem": kit.stem,
        "product_id": kit.product_id,
        "product_name": kit.product_name,
        "version": kit.version,
        "hex_size": str(len(hex_file)),
        "hex_sha256": hashlib.sha256(hex_file).hexdigest(),
        "bin_size": str(size),
        "bin_sha256": hashlib.sha256(kit.update).hexdigest(),
        "bin_read": str(-(-size // TRANSFER_SIZE) * TRANSFER_SIZE),
        "update_kib": str(-(-size // KIB)),
        "address": f"0x{kit.staging_address:08X}",
        "usual": str(kit.silence.usual),
        "longest": str(kit.silence.longest),
        "enter_again": kit.way_in.enter_again,
        "then_sh": " \\\n    ".join(f"'  {at}. {do}'" for at, do in enumerate(kit.way_in.then, 2)),
        "then_bat": "\n".join(f"echo   {at}. {do}" for at, do in enumerate(kit.way_in.then, 2)),
        "udev_file": UDEV_FILE,
        "udev_rule": UDEV_RULE,
    }


def _howto(kit: Kit, values: dict[str, str]) -> str:
    escaped = {name: html.escape(value) for name, value in values.items()}
    part = "howto-dfu-util.html" if kit.dfu_util_is_safe else "howto-no-dfu-util.html"
    way = kit.way_in
    words = {
        "dfu_util": _fill(part, escaped).strip(),
        "enter": _fill(way.enter, escaped).strip(),
        "leave": _fill(way.leave, escaped).strip(),
        "not_found": way.not_found,
        "go_on": way.go_on,
        "still_silent": way.still_silent,
        "asked": way.asked,
    }
    return _fill("howto.html", {**escaped, **words})


class _Text(Template):
    """A text with ``@{name}``; neither shells nor HTML use that themselves."""

    pattern = r"""
        @\{(?P<braced>[a-z_0-9]+)\}
        | (?P<escaped>(?!)) | (?P<named>(?!)) | (?P<invalid>(?!))
    """  # type: ignore[assignment]  # typeshed wants the compiled form


def _fill(name: str, values: dict[str, str]) -> str:
    template = resources.files("packager.kit") / "templates" / name
    return _Text(template.read_text(encoding="utf-8")).substitute(values)
