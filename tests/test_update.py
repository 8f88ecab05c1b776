"""Building and opening updates: round trips, every refusal with its reason, every flipped bit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from material import image, key_set, layout, mirror_layout, update
from refusals import CASES, FIELDS, Case, add, put, sign_again

from packager import crypto, keys
from packager import update as update_room
from packager.chip import FLASH_WORD
from packager.errors import (
    AuthenticationError,
    FormatError,
    KeyFileError,
    PackagerError,
    RefusedError,
)
from packager.format import HEADER_SIZE, TAG_SIZE, UPDATE_MAGIC, payload_size_of
from packager.reasons import Reason
from packager.update import (
    Floor,
    Opened,
    Refusal,
    Secrets,
    build_update,
    check_target,
    header_field,
    open_update,
    seal_update,
    update_id,
)


def opened(data: bytes, floor: Floor | None = None) -> Opened:
    own = key_set()
    return open_update(data, own.verify, own.device, layout(), floor=floor)


def reason_of(data: bytes, floor: Floor | None = None) -> Reason:
    with pytest.raises(Refusal) as caught:
        opened(data, floor)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def chunked(size: int = 5000, **changes: object) -> bytes:
    """Return an update of 1 KiB chunks."""
    plan = key_set().plan(**{"chunk_size": 1024, **changes})
    return seal_update(image(size), plan, Secrets.draw())


@given(
    chunk_size=st.sampled_from([1024, 2048, 4096, 8192, 16_384]),
    chunks=st.integers(0, 3),
    rest=st.integers(-17, 17),
)
@settings(max_examples=60, deadline=None)
def test_an_update_opens_to_the_image_it_was_made_of(
    chunk_size: int, chunks: int, rest: int
) -> None:
    size = max(12, chunk_size * chunks + rest)

    found = opened(chunked(size, chunk_size=chunk_size))

    assert found.image == image(size)
    assert found.header.payload_size == payload_size_of(size, chunk_size)


def test_the_largest_image_of_the_layout_can_be_packed() -> None:
    data = update(layout().largest_image)

    assert len(data) <= layout().staging.size
    assert opened(data).image == image(layout().largest_image)


@pytest.mark.parametrize("size", [0, 915_969])
def test_an_image_of_a_size_the_layout_cannot_take_is_refused(size: int) -> None:
    own = key_set()

    with pytest.raises(RefusedError, match=f"image of {size} bytes"):
        build_update(bytes(size), layout(), own.signing[0], own.recipients, version=1, counter=1)


def test_an_update_is_whole_flash_words_filled_with_ff() -> None:
    data = update(12_345)
    size = HEADER_SIZE + payload_size_of(12_345, 16_384)

    assert len(data) % FLASH_WORD == 0
    assert len(data) - size < FLASH_WORD
    assert data[size:].strip(b"\xff") == b""


def test_the_same_image_never_gives_the_same_update() -> None:
    own = key_set()
    first, second = (
        build_update(image(2000), layout(), own.signing[0], own.recipients, version=1, counter=1)
        for _ in range(2)
    )

    for name in ("base_nonce", "ephemeral_public_key", "payload_digest", "recipients"):
        assert header_field(first, name) != header_field(second, name)
    assert header_field(first, "image_digest") == header_field(second, "image_digest")
    assert update_id(first) != update_id(second)


@pytest.mark.parametrize("index", range(2))
def test_each_recipient_opens_the_update_alone(index: int) -> None:
    own = key_set()
    data = chunked(recipients=tuple(own.recipients))

    found = open_update(data, own.verify, [own.device[index]], layout())

    assert found.image == image(5000)


@pytest.mark.parametrize("index", range(2))
def test_each_signing_key_is_trusted(index: int) -> None:
    own = key_set()

    found = opened(chunked(signing_key=own.signing[index]))

    assert found.header.signing_key_id == own.signing[index].key_id


@pytest.mark.parametrize("count", [0, 5])
def test_an_update_has_one_to_four_recipients(count: int) -> None:
    with pytest.raises(RefusedError, match=f"{count} recipients"):
        chunked(recipients=tuple(key_set().recipients[:1] * count))


@pytest.mark.parametrize("name", ["active", "device"])
def test_published_test_keys_build_no_update(name: str) -> None:
    own, published = key_set(), keys.published_test_keys()
    signing, recipients = own.signing[0], own.recipients
    if name == "active":
        assert isinstance(published[name], keys.SigningKey)
        signing = published[name]  # type: ignore[assignment]
    else:
        recipients = [keys.Recipient(name, published[name].public)]

    with pytest.raises(KeyFileError, match="published test key"):
        build_update(image(2000), layout(), signing, recipients, version=1, counter=1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_update_is_refused_with_its_reason(case: Case) -> None:
    own = key_set()

    wrong = case.make(chunked(recipients=tuple(own.recipients[:1])), own.signing[0])

    assert reason_of(wrong) == case.reason


def test_the_table_knows_the_place_of_every_header_field() -> None:
    assert {name: part.start for name, part in update_room._FIELDS.items()} == FIELDS


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("no magic", FormatError),
        ("image size 0", FormatError),
        ("reserved first byte", FormatError),
        ("signature altered", AuthenticationError),
        ("wrapped key altered", AuthenticationError),
        ("first chunk altered", AuthenticationError),
        ("other product", RefusedError),
        ("other layout", RefusedError),
    ],
)
def test_a_refusal_is_of_the_class_of_who_must_act(case: str, error: type[PackagerError]) -> None:
    row = next(row for row in CASES if row.name == case)

    with pytest.raises(error) as caught:
        opened(row.make(chunked(), key_set().signing[0]))

    assert isinstance(caught.value, Refusal)
    assert caught.value.exit_code == error.exit_code


def test_every_flipped_bit_of_the_header_is_refused() -> None:
    data = bytearray(chunked(2000))

    for bit in range(HEADER_SIZE * 8):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refusal):
            opened(bytes(data))
        data[bit // 8] ^= 1 << bit % 8
    assert opened(bytes(data)).image == image(2000)


def test_a_thousand_flipped_bits_of_the_payload_are_refused() -> None:
    data, dice = bytearray(update()), random.Random(1)
    end = HEADER_SIZE + payload_size_of(20_000, 16_384)

    for _ in range(1000):
        at, mask = dice.randrange(HEADER_SIZE, end), 1 << dice.randrange(8)
        data[at] ^= mask
        assert reason_of(bytes(data)) == Reason.PAYLOAD_DIGEST
        data[at] ^= mask


@given(st.integers(0, 6000))
@settings(max_examples=60, deadline=None)
def test_a_truncated_update_is_refused(size: int) -> None:
    whole = HEADER_SIZE + payload_size_of(5000, 1024)
    data = chunked()[: min(size, whole - 1)]

    assert reason_of(data) == (Reason.NONE if len(data) < HEADER_SIZE else Reason.PAYLOAD_DIGEST)


@given(st.binary(max_size=2000), st.booleans())
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_no_update(data: bytes, with_magic: bool) -> None:
    assert reason_of(UPDATE_MAGIC + data if with_magic else data) in (
        Reason.NONE,
        Reason.FORMAT_VERSION,
    )


def test_what_follows_the_payload_is_ignored_as_in_flash() -> None:
    assert opened(update() + b"leftover of an older, longer update").image == image(20_000)


@pytest.mark.parametrize(
    ("floor", "reason"),
    [
        (Floor(3, 0x0104_0002), None),  # the same update again is a repair
        (Floor(2, 0xFFFF_FFFF), None),  # a higher counter may lower the version
        (Floor(3, 0x0104_0001), None),
        (Floor(4, 0), Reason.COUNTER_TOO_OLD),
        (Floor(3, 0x0104_0003), Reason.VERSION_TOO_OLD),
        (Floor(0x8000_0000, 0), Reason.COUNTER_TOO_OLD),  # unsigned
        (Floor(3, 0x8000_0000), Reason.VERSION_TOO_OLD),
    ],
)
def test_the_floor_refuses_what_is_older(floor: Floor, reason: Reason | None) -> None:
    if reason is None:
        assert opened(update(), floor).image
    else:
        assert reason_of(update(), floor) == reason


def test_an_allowed_downgrade_lowers_the_version_but_never_the_counter() -> None:
    data = chunked(flags=1)

    assert opened(data, Floor(3, 0xFFFF_FFFF)).image
    assert reason_of(data, Floor(4, 0)) == Reason.COUNTER_TOO_OLD


def test_the_first_reason_in_order_is_given() -> None:
    own = key_set()
    wrong = put("compression_id", 1)(put("product_id", b"x" * 16)(add("chip", 1)(chunked())))

    assert reason_of(wrong) == Reason.SIGNATURE
    wrong = sign_again(wrong, own.signing[0])
    assert reason_of(wrong) == Reason.COMPRESSION
    wrong = sign_again(put("compression_id", 0)(wrong), own.signing[0])
    assert reason_of(wrong) == Reason.PRODUCT


def test_an_update_for_the_mirror_layout_is_refused_by_the_default_one() -> None:
    own = key_set()
    mirror = mirror_layout()
    made = seal_update(image(5000, mirror.app.start), own.plan(layout=mirror), Secrets.draw())

    assert open_update(made, own.verify, own.device, mirror).image
    assert reason_of(made) == Reason.PRODUCT


@pytest.mark.parametrize(
    ("sp", "reset"),
    [
        (0x2002_0008, 0x0810_0009),
        (0x2000_0000, 0x0810_0009),
        (0x2001_FFFC, 0x0810_0009),
        (0x0000_8000, 0x0810_0009),
        (0x2002_0000, 0x0810_0008),
        (0x2002_0000, 0x0810_0007),
        (0x2002_0000, 0x0802_0009),
        (0x2002_0000, 0x0810_0000 + 2000 + 1),
    ],
)
def test_an_image_without_plausible_vectors_is_refused(sp: int, reset: int) -> None:
    plain = sp.to_bytes(4, "little") + reset.to_bytes(4, "little") + bytes(1992)
    made = seal_update(plain, key_set().plan(), Secrets.draw())

    assert reason_of(made) == Reason.IMAGE_VECTORS


def test_an_image_shorter_than_its_vectors_is_refused() -> None:
    made = seal_update(b"1234567", key_set().plan(), Secrets.draw())

    assert reason_of(made) == Reason.IMAGE_VECTORS


def test_a_packer_that_seals_wrongly_notices_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = crypto.seal_chunk

    def swapped(cek: bytes, nonce: bytes, index: int, is_last: bool, plain: bytes) -> bytes:
        return seal(cek, nonce, index, not is_last, plain)

    monkeypatch.setattr(crypto, "seal_chunk", swapped)
    own = key_set()

    with pytest.raises(PackagerError, match="update just built"):
        build_update(image(2000), layout(), own.signing[0], own.recipients, version=1, counter=1)


def test_no_secret_shows_in_the_text_of_a_key_or_of_the_randomness() -> None:
    own, drawn = key_set(), Secrets.draw()
    text = repr((own.signing, own.device, drawn, own.plan()))

    for secret in (own.signing[0].secret, own.device[0].secret, drawn.cek, drawn.ephemeral_secret):
        assert repr(secret) not in text


def test_chunks_of_two_updates_cannot_be_mixed() -> None:
    first, second = chunked(), chunked()
    chunk = HEADER_SIZE + 1024 + TAG_SIZE
    mixed = first[:HEADER_SIZE] + second[HEADER_SIZE:chunk] + first[chunk:]
    payload = mixed[HEADER_SIZE : HEADER_SIZE + payload_size_of(5000, 1024)]

    wrong = sign_again(put("payload_digest", crypto.digest(payload))(mixed), key_set().signing[0])

    assert reason_of(wrong) == Reason.CHUNK_TAG


MESSAGES = [
    (
        "no magic",
        "update: no update, expected a header of 640 bytes with magic SPLTFLSH;"
        " use a file made by splitflash pack",
    ),
    (
        "format version 2",
        "update: format_version is 2, expected 1;"
        " pack it with a splitflash whose format matches the loader",
    ),
    (
        "image size 2^31",
        "update: image_size is 2147483648, the app area takes 1 to 916480 bytes;"
        " pack the update again with the layout and keys of this product",
    ),
    (
        "other product",
        "update: product 'other', expected 'demo-h743zi'; use the file of this product",
    ),
    (
        "other app address",
        "update: app address 0x08120000, expected 0x08100000;"
        " pack the update again with the layout and keys of this product",
    ),
    (
        "payload first bit",
        "update: the payload in staging is incomplete or altered;"
        " write the update file again; if it is refused again, fetch a fresh copy of the file",
    ),
]


@pytest.mark.parametrize(("name", "message"), MESSAGES, ids=[name for name, _ in MESSAGES])
def test_the_message_of_a_refusal_is(name: str, message: str) -> None:
    row = next(row for row in CASES if row.name == name)

    with pytest.raises(Refusal) as caught:
        opened(row.make(chunked(), key_set().signing[0]))

    assert str(caught.value) == message


def test_a_foreign_product_id_is_named_without_acting_on_a_terminal() -> None:
    forged = b"x\x1b[2J\nsigned: y\xe4"
    with pytest.raises(Refusal, match=r"product 'x\\x1b\[2J\\nsigned: y\\xe4', expected"):
        check_target(put("product_id", forged)(chunked()), layout())


def test_the_message_of_an_unknown_signing_key_names_both_sides() -> None:
    own = key_set()
    data = chunked(signing_key=own.signing[1])

    with pytest.raises(Refusal) as caught:
        open_update(data, own.verify[:1], own.device, layout(), where="app.update.bin")

    assert str(caught.value) == (
        f"app.update.bin: signed by {own.signing[1].key_id.hex()},"
        f" trusted here: {own.signing[0].key_id.hex()};"
        " sign with one of these keys or rebuild the loader"
    )


def test_a_plan_keeps_the_counter_within_32_bits() -> None:
    plan = key_set().plan(counter=1 << 32)

    with pytest.raises(RefusedError, match="security counter"):
        seal_update(image(100), plan, Secrets.draw())
