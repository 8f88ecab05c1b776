"""What the device at the other end takes, and whether an update is for it.

The loader's info block tells; a layout file stands in for it where there is no loader yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from packager.chip import BOOT_ADDRESS, CHIPS, SECTOR_SIZE, Span
from packager.dfu.memory_map import Access, MemoryMap
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import RequestRefusedError
from packager.errors import DeviceError, FormatError, OutsideStagingError, RefusedError
from packager.format import (
    FLAG_ALLOW_DOWNGRADE,
    INFO_OFFSET,
    INFO_SIZE,
    UpdateHeader,
    field_text,
    printable,
    version_text,
)
from packager.layout import Layout
from packager.reasons import EXPLANATIONS, Reason
from packager.records import FlashArea, InfoBlock, MarkRecord, parse_info

INFO_ADDRESS = BOOT_ADDRESS + INFO_OFFSET


@dataclass(frozen=True)
class Target:
    """Identity and areas of a device; key ids are None where nothing is known of them."""

    chip: int
    product_id: bytes
    layout_id: bytes
    loader: Span
    staging: Span
    app: Span
    marks: Span
    verify_key_ids: tuple[bytes, ...] | None = None
    device_key_ids: tuple[bytes, ...] | None = None


def read_info(device: DfuSe) -> InfoBlock | None:
    """Read the loader's info block; None when no loader of ours is there."""
    try:
        return parse_info(device.upload(INFO_ADDRESS, INFO_SIZE))
    except (FormatError, RequestRefusedError):
        return None


def target_of(info: InfoBlock | None, layout: Layout | None, where: str = "device") -> Target:
    """Combine what the loader says with the layout file, which must agree.

    Raises:
        RefusedError: neither is there, or they contradict each other.
        DeviceError: the info block names areas that no loader of ours can have.
    """
    if info is None:
        if layout is None:
            raise RefusedError(
                where,
                f"no splitflash loader (no info block at 0x{INFO_ADDRESS:08X})",
                "an update without a loader does nothing",
                "write the factory image of the product first, or name its --layout",
            )
        return _target_of_layout(layout)
    if layout is not None and layout.layout_id != info.layout_id:
        raise RefusedError(
            str(layout.path),
            f"layout id {layout.layout_id.hex()}",
            f"the loader on {where} has {info.layout_id.hex()}",
            "leave out --layout: the loader knows its own",
        )
    target = Target(
        chip=info.chip,
        product_id=info.product_id,
        layout_id=info.layout_id,
        loader=_span(info.loader),
        staging=_span(info.staging),
        app=_span(info.app),
        marks=_span(info.marks),
        verify_key_ids=info.verify_key_ids,
        device_key_ids=info.device_key_ids,
    )
    _check_areas(target, where)
    return target


def check_memory(target: Target, memory_map: MemoryMap | None, where: str) -> None:
    """See that the device lets us erase and write staging.

    Raises:
        OutsideStagingError: its memory map does not.
    """
    rights = Access.READ | Access.ERASE | Access.WRITE
    if memory_map is not None and not memory_map.allows(target.staging, rights):
        raise OutsideStagingError(
            where,
            f"memory '{printable(memory_map.text())}'",
            f"expected to erase and write 0x{target.staging.start:08X}"
            f"..0x{target.staging.end - 1:08X}",
            "this device is not the one of the update; check product and layout",
        )


def check_update(header: UpdateHeader, update_size: int, target: Target) -> None:
    """See that an update is for this device; the loader decides again, and on the signature too.

    Raises:
        RefusedError: it is not, and why.
        OutsideStagingError: it is too large.
    """
    product, own_product = header.product_id, target.product_id
    if product != own_product:
        own_text = f"this device has '{field_text(own_product)}'"
        raise _refused(Reason.PRODUCT, f"'{field_text(product)}'", own_text)
    pairs = (
        (Reason.CHIP, f"0x{header.chip:08X}", f"0x{target.chip:08X}"),
        (Reason.LAYOUT, header.layout_id.hex(), target.layout_id.hex()),
        (Reason.ADDRESS, f"app 0x{header.app_address:08X}", f"app 0x{target.app.start:08X}"),
        (
            Reason.ADDRESS,
            f"staging 0x{header.staging_address:08X}",
            f"staging 0x{target.staging.start:08X}",
        ),
    )
    for reason, found, expected in pairs:
        if found != expected:
            raise _refused(reason, found, f"this device has {expected}")
    if update_size > target.staging.size:
        raise OutsideStagingError(
            "update",
            f"{update_size} bytes",
            f"staging of this device holds {target.staging.size}",
            "use the update made for this product",
        )
    trusted = target.verify_key_ids
    if trusted is not None and header.signing_key_id not in trusted:
        raise _refused(
            Reason.UNKNOWN_SIGNING_KEY,
            f"signed by {header.signing_key_id.hex()}",
            f"this loader trusts {_ids(trusted)}",
        )
    recipients = tuple(recipient.key_id for recipient in header.recipients)
    own = target.device_key_ids
    if own is not None and not set(own) & set(recipients):
        raise _refused(
            Reason.UNKNOWN_RECIPIENT,
            f"encrypted for {_ids(recipients)}",
            f"this device has {_ids(own)}",
        )


def check_floor(header: UpdateHeader, record: MarkRecord | None) -> None:
    """See that an update is no downgrade of what the marks remember.

    Raises:
        RefusedError: it is, so the loader would refuse it.
    """
    if record is None:
        return
    if header.security_counter < record.floor_counter:
        raise _refused(
            Reason.COUNTER_TOO_OLD,
            f"security counter {header.security_counter}",
            f"this device is at {record.floor_counter}",
        )
    allowed = header.flags & FLAG_ALLOW_DOWNGRADE
    same_counter = header.security_counter == record.floor_counter
    if same_counter and header.version < record.floor_version and not allowed:
        raise _refused(
            Reason.VERSION_TOO_OLD,
            f"version {version_text(header.version)}",
            f"this device had {version_text(record.floor_version)}",
        )


def _target_of_layout(layout: Layout) -> Target:
    return Target(
        chip=layout.chip.chip_id,
        product_id=layout.product_id_field,
        layout_id=layout.layout_id,
        loader=layout.loader,
        staging=layout.staging,
        app=layout.app,
        marks=layout.marks,
    )


def _check_areas(target: Target, where: str) -> None:
    """Trust an info block only as far as it cannot lead us outside a staging area."""
    chip = next((chip for chip in CHIPS.values() if chip.chip_id == target.chip), None)
    staging = target.staging
    others = (target.loader, target.app, target.marks)
    good = (
        chip is not None
        and target.loader.contains(BOOT_ADDRESS)
        and any(bank.contains(staging.start, staging.size) for bank in chip.banks)
        and staging.size > 0
        and not (staging.start | staging.size) % SECTOR_SIZE
        and not any(staging.overlaps(other) for other in others)
    )
    if not good:
        raise DeviceError(
            where,
            f"the loader names chip 0x{target.chip:08X} and staging 0x{staging.start:08X} with "
            f"{staging.size} bytes",
            "no layout of ours looks like that",
            "update splitflash, or write the factory image of the product again",
        )


def _refused(reason: Reason, found: str, expected: str) -> RefusedError:
    explanation = EXPLANATIONS[reason]
    return RefusedError("update", f"{explanation.meaning} ({found})", expected, explanation.do)


def _span(area: FlashArea) -> Span:
    return Span(area.start, area.size)


def _ids(key_ids: tuple[bytes, ...]) -> str:
    return ", ".join(key_id.hex() for key_id in key_ids) or "nobody"
