"""Builds and opens updates: header, sealed payload, signature.

Opening asks the same questions as the loader, in the same order, with the same reasons:
before the signature only magic, sizes and the signing-key id are looked at. What is opened is
either the whole image or an error; there is no half-checked result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from packager import crypto
from packager.errors import AuthenticationError, FormatError, PackagerError, RefusedError
from packager.format import (
    CARRY_SIZE,
    FLAG_ALLOW_DOWNGRADE,
    FORMAT_VERSION,
    HEADER_SIZE,
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    NONCE_SIZE,
    RECIPIENT_SLOTS,
    SIGNATURE_DOMAIN,
    SIGNED_SIZE,
    TAG_SIZE,
    UPDATE_MAGIC,
    WRAP_DOMAIN,
    UpdateHeader,
    UpdateHeaderStruct,
    WrappedKey,
    build_header,
    chunk_count,
    field_text,
    pad_to_flash_word,
    parse_header,
    payload_size_of,
    version_text,
)
from packager.keys import DeviceKey, Kind, Recipient, SigningKey, VerifyKey, refuse_weak_key
from packager.layout import Layout
from packager.reasons import EXPLANATIONS, Reason
from packager.vectors import vectors_are_plausible


class Refusal(PackagerError):
    """An update that must not be installed; ``reason`` is what the loader would record."""

    reason = Reason.NONE


class MalformedUpdateError(Refusal, FormatError):
    """Not an update, or one of a form this version does not know."""


class ForgedUpdateError(Refusal, AuthenticationError):
    """A signature, tag or digest of the update does not verify with these keys."""


class UnsuitableUpdateError(Refusal, RefusedError):
    """An authentic update for something else, or an older one than allowed."""


@dataclass(frozen=True)
class Secrets:
    """What must be random and new for every update; public only for test vectors."""

    cek: bytes = field(repr=False)
    base_nonce: bytes
    ephemeral_secret: bytes = field(repr=False)

    @classmethod
    def draw(cls) -> Secrets:
        """Draw all three from the operating system."""
        return cls(crypto.draw(), crypto.draw(NONCE_SIZE), crypto.draw())


class Floor(NamedTuple):
    """The oldest a device accepts: the counter of its newest update, and that one's version."""

    counter: int
    version: int


class Opened(NamedTuple):
    """An update that passed every check, and the image it carries."""

    header: UpdateHeader
    image: bytes


def build_update(
    image: bytes,
    layout: Layout,
    signing_key: SigningKey,
    recipients: Sequence[Recipient],
    version: int,
    counter: int,
    allow_downgrade: bool = False,
) -> bytes:
    """Return an update of whole flash words, with fresh random content key, nonce and key pair.

    Before it is returned it is opened again and compared with the image.

    Raises:
        RefusedError: the image does not fit the layout, or 0 or more than 4 recipients.
        KeyFileError: a blank or published test key.
    """
    refuse_weak_key(signing_key.name, Kind.SIGNING, signing_key.secret)
    for recipient in recipients:
        refuse_weak_key(recipient.name, Kind.RECIPIENT, recipient.raw)
    flags = FLAG_ALLOW_DOWNGRADE if allow_downgrade else 0
    secrets = Secrets.draw()
    plan = UpdatePlan(layout, signing_key, tuple(recipients), version, counter, flags)
    update = seal_update(image, plan, secrets)
    _check_own_work(update, image, plan, secrets)
    return update


class UpdatePlan(NamedTuple):
    """Everything of an update but the image and the randomness."""

    layout: Layout
    signing_key: SigningKey
    recipients: tuple[Recipient, ...]
    version: int
    counter: int
    flags: int = 0
    chunk_size: int = MAX_CHUNK_SIZE


def seal_update(image: bytes, plan: UpdatePlan, secrets: Secrets) -> bytes:
    """Return an update made with the given randomness: one level below :func:`build_update`.

    Raises:
        RefusedError: the image does not fit the layout, or 0 or more than 4 recipients.
    """
    _check_plan(image, plan)
    payload = _seal_payload(image, plan.chunk_size, secrets)
    header = _new_header(image, payload, plan, secrets)
    signature = crypto.sign(plan.signing_key.secret, signed_bytes(build_header(header)))
    return pad_to_flash_word(build_header(header._replace(signature=signature)) + payload)


def signed_bytes(header: bytes) -> bytes:
    """Return what a signature covers: a fixed domain, then the header up to the signature."""
    return SIGNATURE_DOMAIN + header[:SIGNED_SIZE]


def update_id(update: bytes) -> bytes:
    """Return the identity of an update: BLAKE2b-256 of its signed bytes."""
    return crypto.digest(signed_bytes(update[:HEADER_SIZE]))


def trimmed(update: bytes) -> bytes:
    """Return header and payload without what follows them; sizes must have been checked."""
    return update[: HEADER_SIZE + header_number(update, "payload_size")]


def header_field(update: bytes, name: str) -> bytes:
    """Return the raw bytes of one header field, whatever they say."""
    return update[_FIELDS[name]]


def header_number(update: bytes, name: str) -> int:
    """Return one header field as a little-endian number."""
    return int.from_bytes(header_field(update, name), "little")


def open_update(
    data: bytes,
    verify_keys: Sequence[VerifyKey],
    device_keys: Sequence[DeviceKey],
    layout: Layout,
    *,
    where: str = "update",
    floor: Floor | None = None,
) -> Opened:
    """Return header and image of an update that a device of this layout would install.

    Bytes behind the payload are ignored, as the loader does.

    Raises:
        FormatError: not an update, or of an unknown form.
        AuthenticationError: signature, recipient, tag or digest.
        RefusedError: authentic, but for another device or too old.
            All three are also a :class:`Refusal` with the loader's ``reason``.
    """
    check_header(data, layout, where)
    verify_signature(data, verify_keys, where)
    header = check_target(data, layout, where, floor)
    cek = unwrap_cek(header, device_keys, where)
    image = open_payload(data, header, cek, where)
    if not vectors_are_plausible(image, layout.app.start, layout.chip):
        raise _refusal(Reason.IMAGE_VECTORS, where)
    return Opened(header, image)


def check_header(data: bytes, layout: Layout | None = None, where: str = "update") -> None:
    """Check all that may be used before the signature: magic, versions, sizes.

    Without a layout the areas are taken as endless.

    Raises:
        FormatError: with reason ``NONE`` for no update at all, else the loader's.
    """
    if len(data) < HEADER_SIZE or header_field(data, "magic") != UPDATE_MAGIC:
        found = "no update" if len(data) >= HEADER_SIZE else f"only {len(data)} bytes"
        expected = f"expected a header of {HEADER_SIZE} bytes with magic {UPDATE_MAGIC.decode()}"
        raise _refusal(Reason.NONE, where, found, expected, "use a file made by splitflash pack")
    for name, expected_value, reason in (
        ("format_version", FORMAT_VERSION, Reason.FORMAT_VERSION),
        ("header_size", HEADER_SIZE, Reason.HEADER_SIZE),
    ):
        value = header_number(data, name)
        if value != expected_value:
            raise _refusal(reason, where, f"{name} is {value}", f"expected {expected_value}")
    problem = _size_problem(data, layout)
    if problem:
        raise _refusal(Reason.SIZES, where, problem)


def verify_signature(
    data: bytes, verify_keys: Sequence[VerifyKey], where: str = "update"
) -> VerifyKey:
    """Return the verify key that the update is signed for, only if the signature is good.

    Raises:
        AuthenticationError: unknown key, or the signature does not verify.
    """
    key_id = header_field(data, "signing_key_id")
    key = next((key for key in verify_keys if key.key_id == key_id), None)
    if key is None:
        trusted = ", ".join(key.key_id.hex() for key in verify_keys) or "none"
        found = f"signed by {key_id.hex()}"
        raise _refusal(
            Reason.UNKNOWN_SIGNING_KEY,
            where,
            found,
            f"trusted here: {trusted}",
            "sign with one of these keys or rebuild the loader",
        )
    try:
        crypto.verify(key.raw, header_field(data, "signature"), signed_bytes(data))
    except crypto.CryptoMismatch as error:
        found = f"the signature by {key_id.hex()} does not verify"
        raise _refusal(
            Reason.SIGNATURE, where, found, "the header was altered or damaged"
        ) from error
    return key


def check_target(
    data: bytes, layout: Layout, where: str = "update", floor: Floor | None = None
) -> UpdateHeader:
    """Return the header, only if it is known in full, for this layout, and not too old.

    Raises:
        FormatError: reserved bytes are used, or compression.
        RefusedError: another product, chip, layout or address; below ``floor``.
    """
    header = _known_header(data, where)
    targets: tuple[tuple[Reason, str, bytes | int, bytes | int], ...] = (
        (Reason.PRODUCT, "product", header.product_id, layout.product_id_field),
        (Reason.CHIP, "chip", header.chip, layout.chip.chip_id),
        (Reason.LAYOUT, "layout id", header.layout_id, layout.layout_id),
        (Reason.ADDRESS, "app address", header.app_address, layout.app.start),
        (Reason.ADDRESS, "staging address", header.staging_address, layout.staging.start),
    )
    for reason, name, found, wanted in targets:
        if found != wanted:
            raise _refusal(
                reason, where, f"{name} {_shown(name, found)}", f"expected {_shown(name, wanted)}"
            )
    if floor is not None:
        _check_floor(header, floor, where)
    return header


def unwrap_cek(
    header: UpdateHeader, device_keys: Sequence[DeviceKey], where: str = "update"
) -> bytes:
    """Return the content key, by the first recipient that is one of the device keys.

    Raises:
        AuthenticationError: none of them, or it cannot be unwrapped.
    """
    by_id = {key.key_id: key for key in device_keys}
    entry = next((entry for entry in header.recipients if entry.key_id in by_id), None)
    if entry is None:
        theirs = ", ".join(entry.key_id.hex() for entry in header.recipients) or "nobody"
        ours = ", ".join(key_id.hex() for key_id in by_id) or "none"
        found = f"encrypted for {theirs}"
        raise _refusal(Reason.UNKNOWN_RECIPIENT, where, found, f"device keys here: {ours}")
    try:
        return crypto.unwrap_key(
            by_id[entry.key_id].secret,
            header.ephemeral_public_key,
            _wrap_info(header.product_id, entry.key_id),
            _wrap_aad(header.product_id, header.base_nonce),
            entry.wrapped_cek,
            entry.wrap_tag,
        )
    except crypto.CryptoMismatch as error:
        raise _refusal(Reason.KEY_AGREEMENT, where) from error


def open_payload(data: bytes, header: UpdateHeader, cek: bytes, where: str = "update") -> bytes:
    """Return the image: payload digest first, then every chunk, then the image digest.

    Raises:
        AuthenticationError: incomplete or altered.
    """
    payload = data[HEADER_SIZE : HEADER_SIZE + header.payload_size]
    if len(payload) < header.payload_size:
        found = f"truncated, {len(payload)} bytes of payload"
        raise _refusal(Reason.PAYLOAD_DIGEST, where, found, f"expected {header.payload_size}")
    if crypto.digest(payload) != header.payload_digest:
        raise _refusal(Reason.PAYLOAD_DIGEST, where)
    image = _open_chunks(payload, header, cek, where)
    if crypto.digest(image) != header.image_digest:
        raise _refusal(Reason.IMAGE_DIGEST, where)
    return image


def _offsets() -> dict[str, slice]:
    fields, at = {}, 0
    for part in UpdateHeaderStruct.subcons:
        size = part.sizeof()
        fields[str(part.name)] = slice(at, at + size)
        at += size
    return fields


_FIELDS = _offsets()
"""Where each header field lies, taken from the format itself."""

_ERRORS: dict[Reason, type[Refusal]] = {
    Reason.NONE: MalformedUpdateError,
    Reason.FORMAT_VERSION: MalformedUpdateError,
    Reason.HEADER_SIZE: MalformedUpdateError,
    Reason.SIZES: MalformedUpdateError,
    Reason.RESERVED_NOT_ZERO: MalformedUpdateError,
    Reason.COMPRESSION: MalformedUpdateError,
    Reason.PRODUCT: UnsuitableUpdateError,
    Reason.CHIP: UnsuitableUpdateError,
    Reason.LAYOUT: UnsuitableUpdateError,
    Reason.ADDRESS: UnsuitableUpdateError,
    Reason.COUNTER_TOO_OLD: UnsuitableUpdateError,
    Reason.VERSION_TOO_OLD: UnsuitableUpdateError,
    Reason.IMAGE_VECTORS: UnsuitableUpdateError,
}


def _refusal(
    reason: Reason, where: str, found: str = "", expected: str = "", do: str = ""
) -> Refusal:
    explanation = EXPLANATIONS[reason]
    error = _ERRORS.get(reason, ForgedUpdateError)(
        where, found or explanation.meaning, expected, do or explanation.do
    )
    error.reason = reason
    return error


def _size_problem(data: bytes, layout: Layout | None) -> str:
    image_size = header_number(data, "image_size")
    payload_size = header_number(data, "payload_size")
    chunk_size = header_number(data, "chunk_size")
    image_cap = layout.app.size - CARRY_SIZE if layout else image_size
    payload_cap = layout.staging.size - HEADER_SIZE if layout else payload_size
    if not MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE or chunk_size & (chunk_size - 1):
        return f"chunk_size is {chunk_size}"
    if not 0 < image_size <= image_cap:
        return f"image_size is {image_size}, the app area takes 1 to {image_cap} bytes"
    if payload_size > payload_cap:
        return f"payload_size is {payload_size}, staging takes at most {payload_cap} bytes"
    if payload_size != payload_size_of(image_size, chunk_size):
        return f"payload_size is {payload_size}, not that of {image_size} bytes of image"
    return ""


def _known_header(data: bytes, where: str) -> UpdateHeader:
    unknown_flags = header_number(data, "flags") & ~FLAG_ALLOW_DOWNGRADE
    for name in ("device_bindings", "reserved"):
        if any(header_field(data, name)):
            raise _refusal(Reason.RESERVED_NOT_ZERO, where, f"field '{name}' is not zero")
    if unknown_flags:
        raise _refusal(Reason.RESERVED_NOT_ZERO, where, f"unknown flags 0x{unknown_flags:08X}")
    compression = header_number(data, "compression_id")
    if compression:
        raise _refusal(Reason.COMPRESSION, where, f"compression_id is {compression}")
    try:
        return parse_header(data[:HEADER_SIZE], where)
    except FormatError as error:  # all that is left to find is a bad recipient table
        raise _refusal(Reason.RESERVED_NOT_ZERO, where, error.found, error.expected) from error


def _check_floor(header: UpdateHeader, floor: Floor, where: str) -> None:
    if header.security_counter < floor.counter:
        found = f"security counter {header.security_counter}"
        raise _refusal(Reason.COUNTER_TOO_OLD, where, found, f"the device is at {floor.counter}")
    may_downgrade = header.flags & FLAG_ALLOW_DOWNGRADE
    is_equal = header.security_counter == floor.counter
    if is_equal and header.version < floor.version and not may_downgrade:
        found = f"version {version_text(header.version)}"
        expected = f"the device is at {version_text(floor.version)} with the same security counter"
        raise _refusal(Reason.VERSION_TOO_OLD, where, found, expected)


def _shown(name: str, value: bytes | int) -> str:
    if isinstance(value, int):
        return f"0x{value:08X}"
    if name == "product":
        return f"'{field_text(value)}'"
    return value.hex()


def _open_chunks(payload: bytes, header: UpdateHeader, cek: bytes, where: str) -> bytes:
    count = chunk_count(header.image_size, header.chunk_size)
    return b"".join(_open_chunk(payload, index, header, cek, where) for index in range(count))


def _open_chunk(payload: bytes, index: int, header: UpdateHeader, cek: bytes, where: str) -> bytes:
    at = index * (header.chunk_size + TAG_SIZE)
    sealed = payload[at : at + header.chunk_size + TAG_SIZE]
    is_last = at + len(sealed) == header.payload_size
    try:
        return crypto.open_chunk(cek, header.base_nonce, index, is_last, sealed)
    except crypto.CryptoMismatch as error:
        raise _refusal(Reason.CHUNK_TAG, where, f"chunk {index} does not authenticate") from error


def _seal_payload(image: bytes, chunk_size: int, secrets: Secrets) -> bytes:
    last = chunk_count(len(image), chunk_size) - 1
    return b"".join(
        crypto.seal_chunk(
            secrets.cek,
            secrets.base_nonce,
            index,
            index == last,
            image[index * chunk_size : (index + 1) * chunk_size],
        )
        for index in range(last + 1)
    )


def _new_header(image: bytes, payload: bytes, plan: UpdatePlan, secrets: Secrets) -> UpdateHeader:
    layout = plan.layout
    return UpdateHeader(
        product_id=layout.product_id_field,
        version=plan.version,
        security_counter=plan.counter,
        chip=layout.chip.chip_id,
        app_address=layout.app.start,
        staging_address=layout.staging.start,
        flags=plan.flags,
        layout_id=layout.layout_id,
        image_size=len(image),
        payload_size=len(payload),
        chunk_size=plan.chunk_size,
        image_digest=crypto.digest(image),
        payload_digest=crypto.digest(payload),
        base_nonce=secrets.base_nonce,
        signing_key_id=plan.signing_key.key_id,
        ephemeral_public_key=crypto.public_key_of(secrets.ephemeral_secret),
        recipients=tuple(_wrap(recipient, layout, secrets) for recipient in plan.recipients),
    )


def _wrap(recipient: Recipient, layout: Layout, secrets: Secrets) -> WrappedKey:
    wrapped, tag = crypto.wrap_key(
        secrets.ephemeral_secret,
        recipient.raw,
        _wrap_info(layout.product_id_field, recipient.key_id),
        _wrap_aad(layout.product_id_field, secrets.base_nonce),
        secrets.cek,
    )
    return WrappedKey(recipient.key_id, wrapped, tag)


def _wrap_info(product_id: bytes, key_id: bytes) -> bytes:
    return WRAP_DOMAIN + product_id + key_id


def _wrap_aad(product_id: bytes, base_nonce: bytes) -> bytes:
    return FORMAT_VERSION.to_bytes(4, "little") + product_id + base_nonce


def _check_plan(image: bytes, plan: UpdatePlan) -> None:
    if not 1 <= len(plan.recipients) <= RECIPIENT_SLOTS:
        found = f"{len(plan.recipients)} recipients"
        raise RefusedError("update", found, f"expected 1 to {RECIPIENT_SLOTS}", "check public/")
    if not 0 <= plan.counter < 1 << 32:
        found = f"security counter {plan.counter}"
        raise RefusedError("update", found, "expected 0 to 4294967295", "use a 32-bit number")
    largest = plan.layout.largest_image
    if not 1 <= len(image) <= largest:
        found = f"image of {len(image)} bytes"
        raise RefusedError("update", found, f"this layout takes 1 to {largest}", "shrink the image")


def _check_own_work(update: bytes, image: bytes, plan: UpdatePlan, secrets: Secrets) -> None:
    """Open a new update with what its maker has: every key but the device's.

    The digests were just taken of the very bytes compared here, so they are not taken again.
    """
    where = "update just built"
    check_header(update, plan.layout, where)
    verify_signature(update, [VerifyKey("own", plan.signing_key.public)], where)
    header = check_target(update, plan.layout, where)
    payload = trimmed(update)[HEADER_SIZE:]
    if _open_chunks(payload, header, secrets.cek, where) != image:
        raise PackagerError(where, "opens to another image", "expected its own", "report this")
