"""Every way an update can be wrong, with the reason that every reader must give.

One table for the host and the loader: each row turns a good update into a bad one. ``resign``
marks the rows that are signed again afterwards, so that the signature is not what refuses them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from packager import crypto
from packager.format import (
    CARRY_SIZE,
    HEADER_SIZE,
    SIGNED_SIZE,
    TAG_SIZE,
    pad_to_flash_word,
    payload_size_of,
)
from packager.keys import SigningKey
from packager.layout import Layout
from packager.reasons import Reason
from packager.update import header_field, header_number, signed_bytes

FIELDS = {
    "magic": 0,
    "format_version": 8,
    "header_size": 12,
    "product_id": 16,
    "version": 32,
    "security_counter": 36,
    "chip": 40,
    "app_address": 44,
    "staging_address": 48,
    "flags": 52,
    "layout_id": 56,
    "image_size": 72,
    "payload_size": 76,
    "chunk_size": 80,
    "compression_id": 84,
    "image_digest": 88,
    "payload_digest": 120,
    "base_nonce": 152,
    "signing_key_id": 164,
    "ephemeral_public_key": 172,
    "recipients": 204,
    "device_bindings": 428,
    "reserved": 492,
    "signature": 576,
}
"""Offset of every header field in bytes, typed once more: a check on the format itself."""

Mutation = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Case:
    """One wrong update."""

    name: str
    mutate: Mutation
    reason: Reason
    resign: bool = True

    def make(self, update: bytes, signing_key: SigningKey) -> bytes:
        """Return the wrong update made of a good one."""
        wrong = self.mutate(update)
        return sign_again(wrong, signing_key) if self.resign else wrong


def sign_again(update: bytes, signing_key: SigningKey) -> bytes:
    """Return the update with a fresh signature over whatever its header says."""
    signature = crypto.sign(signing_key.secret, signed_bytes(update))
    return update[:SIGNED_SIZE] + signature + update[HEADER_SIZE:]


def put(name: str, value: int | bytes, offset: int = 0) -> Mutation:
    """Write a value (a 32-bit number or bytes) into a header field."""
    raw = value.to_bytes(4, "little") if isinstance(value, int) else value
    at = FIELDS[name] + offset
    return lambda update: update[:at] + raw + update[at + len(raw) :]


def flip(at: int, mask: int = 1) -> Mutation:
    """Flip bits of one byte; a negative place counts from the end of the payload."""

    def mutate(update: bytes) -> bytes:
        end = HEADER_SIZE + header_number(update, "payload_size")
        place = at if at >= 0 else end + at
        return update[:place] + bytes([update[place] ^ mask]) + update[place + 1 :]

    return mutate


def add(name: str, amount: int) -> Mutation:
    """Add to a header number."""

    def mutate(update: bytes) -> bytes:
        return put(name, (header_number(update, name) + amount) % (1 << 32))(update)

    return mutate


def payload_with(mutate: Mutation) -> Mutation:
    """Change the payload and let ``payload_digest`` follow, so that only a tag can notice."""

    def change(update: bytes) -> bytes:
        wrong = mutate(update)
        size = header_number(wrong, "payload_size")
        digest = crypto.digest(wrong[HEADER_SIZE : HEADER_SIZE + size])
        return put("payload_digest", digest)(wrong)

    return change


def swap_chunks(update: bytes) -> bytes:
    """Exchange the first two chunks (whole ones)."""
    step = header_number(update, "chunk_size") + 16
    first, second = HEADER_SIZE, HEADER_SIZE + step
    end = second + step
    return update[:first] + update[second:end] + update[first:second] + update[end:]


def damage_tag(index: int) -> Mutation:
    """Alter the tag of one chunk (not of the last one)."""

    def mutate(update: bytes) -> bytes:
        step = header_number(update, "chunk_size") + TAG_SIZE
        return flip(HEADER_SIZE + (index + 1) * step - 1)(update)

    return mutate


def repeat_chunk(update: bytes) -> bytes:
    """Put the first chunk in the place of the second."""
    step = header_number(update, "chunk_size") + TAG_SIZE
    first, second = HEADER_SIZE, HEADER_SIZE + step
    return update[:second] + update[first:second] + update[second + step :]


def drop_last_chunk(update: bytes) -> bytes:
    """End the update after its last whole chunk but one, sizes and all."""
    chunk_size = header_number(update, "chunk_size")
    chunks = header_number(update, "image_size") // chunk_size
    return claim(chunks * chunk_size, chunk_size)(update)


def add_chunk(update: bytes) -> bytes:
    """Append the first chunk once more, behind a last chunk that is made whole."""
    chunk_size = header_number(update, "chunk_size")
    step = chunk_size + TAG_SIZE
    chunks = header_number(update, "image_size") // chunk_size + 1
    payload = update[HEADER_SIZE : HEADER_SIZE + header_number(update, "payload_size")]
    payload = payload.ljust(chunks * step, b"\0") + payload[:step]
    longer = claim((chunks + 1) * chunk_size, chunk_size)(update)[:HEADER_SIZE] + payload
    return pad_to_flash_word(longer)


def claim(image_size: int, chunk_size: int) -> Mutation:
    """Claim an image of this size, with the payload size that belongs to it."""
    payload_size = payload_size_of(image_size, chunk_size) % (1 << 32)

    def mutate(update: bytes) -> bytes:
        return put("payload_size", payload_size)(put("image_size", image_size)(update))

    return mutate


def cut_short(update: bytes) -> bytes:
    """Leave the second half of the payload blank, as a drop that was interrupted."""
    half = HEADER_SIZE + header_number(update, "payload_size") // 2
    return update[:half].ljust(len(update), b"\xff")


def sign_with_a_strangers_key(update: bytes) -> bytes:
    """Sign with a key nobody knows, under the name of one that is trusted."""
    secret = crypto.draw()
    return sign_again(update, SigningKey("stranger", secret, crypto.verify_key_of(secret)))


def size_cases(layout: Layout) -> tuple[Case, ...]:
    """Return sizes around what an update for this layout may claim, signed.

    What fits the areas is refused all the same, because the payload is not there.
    """
    chunk = 1024
    whole, rest = divmod(layout.staging.size - HEADER_SIZE, chunk + TAG_SIZE)
    most = whole * chunk + max(rest - TAG_SIZE, 0)
    image_cap = min(layout.app.size - CARRY_SIZE, most)
    absent = Reason.PAYLOAD_DIGEST
    sizes = (
        ("1", 1, absent),
        ("cap - 1", image_cap - 1, absent),
        ("cap", image_cap, absent),
        ("cap + 1", image_cap + 1, Reason.SIZES),
        ("the app area", layout.app.size, Reason.SIZES),
        ("2^31", 1 << 31, Reason.SIZES),
        ("2^32 - 1", 0xFFFF_FFFF, Reason.SIZES),
    )
    claims = [Case(f"sizes of an image of {name}", claim(n, chunk), why) for name, n, why in sizes]
    payload_cap = layout.staging.size - HEADER_SIZE
    payloads = ((name, payload_cap + more) for name, more in (("", 0), (" - 1", -1), (" + 1", 1)))
    return (
        *claims,
        *(Case(f"payload cap{name}", put("payload_size", n), Reason.SIZES) for name, n in payloads),
        Case("payload size 1", put("payload_size", 1), Reason.SIZES),
    )


class FloorCase(NamedTuple):
    """A good update shown to a device with a floor; None if it is to be installed."""

    floor: tuple[int, int]
    """Counter and version."""
    counter: int
    version: int
    reason: Reason | None
    flags: int = 0


_OLD, _OLDER = Reason.COUNTER_TOO_OLD, Reason.VERSION_TOO_OLD
FLOOR_CASES = (
    FloorCase((3, 0x0104_0002), 3, 0x0104_0002, None),
    FloorCase((3, 0x0104_0002), 2, 0x0200_0000, _OLD),
    FloorCase((3, 0x0104_0002), 2, 0x0200_0000, _OLD, flags=1),
    FloorCase((3, 0x0104_0002), 3, 0x0104_0001, _OLDER),
    FloorCase((3, 0x0104_0002), 3, 0x0104_0001, None, flags=1),
    FloorCase((3, 0x0104_0002), 3, 0x0104_0003, None),
    FloorCase((3, 0x0104_0002), 4, 0x0000_0001, None),
    FloorCase((0x8000_0000, 1), 0x7FFF_FFFF, 2, _OLD),
    FloorCase((0x7FFF_FFFF, 1), 0x8000_0000, 0, None),
    FloorCase((0x8000_0000, 1), 0x8000_0000, 0, _OLDER),
    FloorCase((0xFFFF_FFFF, 1), 0, 2, _OLD),
    FloorCase((0, 1), 0xFFFF_FFFF, 0, None),
    FloorCase((0x8000_0000, 1), 0x8000_0000, 1, None),
    FloorCase((0x8000_0000, 1), 0x8000_0001, 0, None),
    FloorCase((0x8000_0000, 1), 0xFFFF_FFFF, 0, None),
    FloorCase((0xFFFF_FFFF, 1), 0x7FFF_FFFF, 2, _OLD),
    FloorCase((0xFFFF_FFFF, 1), 0xFFFF_FFFE, 2, _OLD),
    FloorCase((0xFFFF_FFFF, 1), 0xFFFF_FFFE, 2, _OLD, flags=1),
    FloorCase((0xFFFF_FFFF, 1), 0xFFFF_FFFF, 0, _OLDER),
    FloorCase((0xFFFF_FFFF, 1), 0xFFFF_FFFF, 0, None, flags=1),
    FloorCase((0xFFFF_FFFF, 1), 0xFFFF_FFFF, 1, None),
    FloorCase((0xFFFF_FFFF, 0xFFFF_FFFF), 0xFFFF_FFFF, 0xFFFF_FFFE, _OLDER),
    FloorCase((1, 0x8000_0000), 1, 0x7FFF_FFFF, _OLDER),
    FloorCase((1, 0x7FFF_FFFF), 1, 0x8000_0000, None),
)
"""Older, equal and newer, also around 2^31."""


def foreign_signing_key(update: bytes) -> bytes:
    """Name another signing key."""
    return put("signing_key_id", bytes(8))(update)


def copy_first_recipient_behind_a_gap(update: bytes) -> bytes:
    """Move the first recipient entry to the second place."""
    entry = header_field(update, "recipients")[:56]
    return put("recipients", bytes(56) + entry)(update)


CASES = (
    Case("no magic", put("magic", b"SPLTFLSX"), Reason.NONE, resign=False),
    Case("blank header", lambda update: b"\xff" * len(update), Reason.NONE, resign=False),
    Case("format version 0", put("format_version", 0), Reason.FORMAT_VERSION),
    Case("format version 2", put("format_version", 2), Reason.FORMAT_VERSION),
    Case("format version 2^32-1", put("format_version", 0xFFFF_FFFF), Reason.FORMAT_VERSION),
    Case("header size 0", put("header_size", 0), Reason.HEADER_SIZE),
    Case("header size smaller", put("header_size", 608), Reason.HEADER_SIZE),
    Case("header size larger", put("header_size", 672), Reason.HEADER_SIZE),
    Case("header size 2^31", put("header_size", 1 << 31), Reason.HEADER_SIZE),
    Case("header size 2^32-1", put("header_size", 0xFFFF_FFFF), Reason.HEADER_SIZE),
    Case("image size 0", put("image_size", 0), Reason.SIZES),
    Case("image size one more", add("image_size", 1), Reason.SIZES),
    Case("image size 2^31", put("image_size", 1 << 31), Reason.SIZES),
    Case("image size 2^32-1", put("image_size", 0xFFFF_FFFF), Reason.SIZES),
    Case("payload size 0", put("payload_size", 0), Reason.SIZES),
    Case("payload size one less", add("payload_size", -1), Reason.SIZES),
    Case("payload size one more", add("payload_size", 1), Reason.SIZES),
    Case("payload size 2^31", put("payload_size", 1 << 31), Reason.SIZES),
    Case("payload size 2^32-1", put("payload_size", 0xFFFF_FFFF), Reason.SIZES),
    Case("chunk size 0", put("chunk_size", 0), Reason.SIZES),
    Case("chunk size 512", put("chunk_size", 512), Reason.SIZES),
    Case("chunk size 3 KiB", put("chunk_size", 3 * 1024), Reason.SIZES),
    Case("chunk size 16 KiB less one", put("chunk_size", 16 * 1024 - 1), Reason.SIZES),
    Case("chunk size 16 KiB and one", put("chunk_size", 16 * 1024 + 1), Reason.SIZES),
    Case("chunk size 32 KiB", put("chunk_size", 32 * 1024), Reason.SIZES),
    Case("chunk size 2^32-1", put("chunk_size", 0xFFFF_FFFF), Reason.SIZES),
    Case("unknown signing key", foreign_signing_key, Reason.UNKNOWN_SIGNING_KEY),
    Case("signature altered", flip(FIELDS["signature"]), Reason.SIGNATURE, resign=False),
    Case("signature zero", put("signature", bytes(64)), Reason.SIGNATURE, resign=False),
    Case("version raised", add("version", 1), Reason.SIGNATURE, resign=False),
    Case("counter raised", add("security_counter", 1), Reason.SIGNATURE, resign=False),
    Case("digest altered", flip(FIELDS["image_digest"]), Reason.SIGNATURE, resign=False),
    Case("nonce altered", flip(FIELDS["base_nonce"]), Reason.SIGNATURE, resign=False),
    Case("reserved first byte", put("reserved", b"\1"), Reason.RESERVED_NOT_ZERO),
    Case("reserved last byte", put("reserved", b"\1", 83), Reason.RESERVED_NOT_ZERO),
    Case("device bindings", put("device_bindings", b"\1", 63), Reason.RESERVED_NOT_ZERO),
    Case("unknown flag", put("flags", 2), Reason.RESERVED_NOT_ZERO),
    Case("highest flag", put("flags", 1 << 31), Reason.RESERVED_NOT_ZERO),
    Case("recipient gap", copy_first_recipient_behind_a_gap, Reason.RESERVED_NOT_ZERO),
    Case("unused recipient", put("recipients", b"\1", 223), Reason.RESERVED_NOT_ZERO),
    Case("compression", put("compression_id", 1), Reason.COMPRESSION),
    Case("other product", put("product_id", b"other".ljust(16, b"\0")), Reason.PRODUCT),
    Case("product prefix", put("product_id", b"\0", 10), Reason.PRODUCT),
    Case("smaller chip", put("chip", 1024 << 16 | 0x450), Reason.CHIP),
    Case("other device id", put("chip", 2048 << 16 | 0x480), Reason.CHIP),
    Case("other layout", flip(FIELDS["layout_id"]), Reason.LAYOUT),
    Case("other app address", add("app_address", 128 * 1024), Reason.ADDRESS),
    Case("other staging address", add("staging_address", 128 * 1024), Reason.ADDRESS),
    Case("app where the loader is", put("app_address", 0x0800_0000), Reason.ADDRESS),
    Case("app in RAM", put("app_address", 0x2000_0000), Reason.ADDRESS),
    Case("staging where the marks are", put("staging_address", 0x081E_0000), Reason.ADDRESS),
    Case("unknown recipient", put("recipients", b"\1" * 8), Reason.UNKNOWN_RECIPIENT),
    Case("no recipient", put("recipients", bytes(224)), Reason.UNKNOWN_RECIPIENT),
    Case("wrapped key altered", flip(FIELDS["recipients"] + 8), Reason.KEY_AGREEMENT),
    Case("wrap tag altered", flip(FIELDS["recipients"] + 40), Reason.KEY_AGREEMENT),
    Case("other nonce", flip(FIELDS["base_nonce"]), Reason.KEY_AGREEMENT),
    Case("other ephemeral", flip(FIELDS["ephemeral_public_key"]), Reason.KEY_AGREEMENT),
    Case("zero ephemeral", put("ephemeral_public_key", bytes(32)), Reason.KEY_AGREEMENT),
    Case("payload first bit", flip(HEADER_SIZE), Reason.PAYLOAD_DIGEST, resign=False),
    Case("payload last bit", flip(-1, 0x80), Reason.PAYLOAD_DIGEST, resign=False),
    Case("other payload digest", flip(FIELDS["payload_digest"]), Reason.PAYLOAD_DIGEST),
    Case("first chunk altered", payload_with(flip(HEADER_SIZE)), Reason.CHUNK_TAG),
    Case("last tag altered", payload_with(flip(-1)), Reason.CHUNK_TAG),
    Case("chunks swapped", payload_with(swap_chunks), Reason.CHUNK_TAG),
    Case("second tag altered", payload_with(damage_tag(1)), Reason.CHUNK_TAG),
    Case("third tag altered", payload_with(damage_tag(2)), Reason.CHUNK_TAG),
    Case("chunk repeated", payload_with(repeat_chunk), Reason.CHUNK_TAG),
    Case("last chunk dropped", payload_with(drop_last_chunk), Reason.CHUNK_TAG),
    Case("chunk appended", payload_with(add_chunk), Reason.CHUNK_TAG),
    Case("payload cut short", cut_short, Reason.PAYLOAD_DIGEST, resign=False),
    Case("signed by a stranger", sign_with_a_strangers_key, Reason.SIGNATURE, resign=False),
    Case("image size 1", put("image_size", 1), Reason.SIZES),
    Case("chunk size 1", put("chunk_size", 1), Reason.SIZES),
    Case("chunk size 2^31", put("chunk_size", 1 << 31), Reason.SIZES),
    Case("other image digest", flip(FIELDS["image_digest"]), Reason.IMAGE_DIGEST),
)
"""Made of an update with at least three chunks, one recipient and flags 0."""
