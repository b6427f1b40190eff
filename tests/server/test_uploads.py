"""Uploads of every kind: accepted, or refused before they cost anything."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from siamese.data.images import square_picture
from siamese.server.errors import ApiError
from siamese.server.settings import Limits
from siamese.server.uploads import Crop, decode_upload
from tests.server.conftest import encoded, error_of, upload


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """Return a PNG that claims a size, whatever it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def animated(format: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HOSTILE = {
    "nothing": (b"", 422),
    "text": (b"just words", 415),
    "page": (b"<!doctype html><script>alert(1)</script>", 415),
    "svg": (SVG, 415),
    "gif": (encoded(format="GIF"), 415),
    "animated gif": (animated("GIF"), 415),
    "bmp": (encoded(format="BMP"), 415),
    "tiff": (encoded(format="TIFF"), 415),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
    "pdf": (b"%PDF-1.7\n", 415),
    "zip": (b"PK\x03\x04" + bytes(100), 415),
    "cut jpeg": (encoded((9, 200, 99), (64, 64), "JPEG")[:-200], 422),
    "cut png": (encoded((9, 200, 99))[:-30], 422),
    "cut webp": (encoded(format="WEBP")[:-9], 422),
    "head of a jpeg": (b"\xff\xd8\xff\xe0", 415),
    "head of a png": (b"\x89PNG\r\n\x1a\n", 415),
    "bomb": (png(40_000, 40_000, bytes(1_000_000)), 413),
    "more pixels than pillow opens": (png(2**31 - 1, 2**31 - 1), 413),
    "too many pixels": (png(7_500, 7_500), 413),
    "claims more than it holds": (png(3_000, 3_000, b"little"), 422),
    "no pixels": (png(0, 5), 415),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_uploads_are_refused_with_a_reason(client, kind):
    content, status = HOSTILE[kind]
    for path in ("/search", "/embed", "/search/image/"):
        answer = client.post(path, **upload(content))
        assert answer.status_code == status, answer.text
        assert error_of(answer).startswith("image: ")


def test_nothing_hostile_reaches_the_model(client):
    embedder = client.app.state.service.current.searcher.embedder
    embedder.batches.clear()
    for content, _ in HOSTILE.values():
        client.post("/search", **upload(content))
    assert embedder.batches == []


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_formats_of_cameras_and_browsers_are_accepted(client, format):
    answer = client.post("/search", **upload(encoded((230, 30, 30), format=format)))
    assert answer.status_code == 200
    assert answer.json()["results"][0]["item_id"] == "red"


def test_photos_of_phones_are_accepted(client):
    # A JPEG followed by a second one, which Pillow calls MPO.
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    answer = client.post("/search", **upload(buffer.getvalue(), "photo.jpg"))
    assert answer.json()["results"][0]["item_id"] == "red"


def test_the_first_frame_of_an_animation_is_used(client):
    answer = client.post("/search", **upload(animated("WEBP")))
    assert answer.json()["results"][0]["item_id"] == "red"


def test_formats_can_be_chosen(serving):
    client = serving(formats=("GIF",))
    assert client.post("/search", **upload(animated("GIF"))).status_code == 200
    answer = client.post("/search", **upload(encoded()))
    assert answer.status_code == 415
    assert error_of(answer) == "image: not a picture of an accepted format (GIF)"


def test_the_pixel_limit_can_be_chosen(serving):
    client = serving(pixels=1_000)
    assert client.post("/search", **upload(encoded(size=(25, 40)))).status_code == 200
    answer = client.post("/search", **upload(encoded(size=(25, 41))))
    assert (answer.status_code, error_of(answer)) == (413, "image: 25 x 41 pixels, limit 1,000")


def test_too_many_pictures_in_a_query_are_refused(serving):
    client = serving(pictures=2)
    files = [("image", (f"{i}.png", encoded())) for i in range(3)]
    assert client.post("/search", files=files[:2]).status_code == 200
    answer = client.post("/search", files=files)
    assert (answer.status_code, error_of(answer)) == (422, "image: 3 pictures, limit 2")
    answer = client.post("/search", files=files[:2], data={"crop": "0,0,1,1"})
    assert answer.status_code == 422


def test_a_query_with_one_broken_picture_is_refused(client):
    files = [("image", ("a.png", encoded())), ("image", ("b.png", b"words"))]
    assert client.post("/search", files=files).status_code == 415


def test_only_the_decoders_of_accepted_formats_read_an_upload():
    """A WebP with what makes a Photo CD of a file, in the midst of its compressed pixels."""
    rng = np.random.default_rng(5)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (96, 96, 3), np.uint8)).save(buffer, "WEBP", quality=95)
    content = bytearray(buffer.getvalue())
    assert len(content) > 4096
    content[2048:2052] = b"PCD_"
    with Image.open(io.BytesIO(content), formats=["WEBP"]) as picture:
        expected = square_picture(picture, 48)
    assert np.array_equal(decode_upload(bytes(content), 48, Limits()), expected)


def test_an_upload_is_prepared_like_the_pictures_of_an_index():
    rng = np.random.default_rng(5)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (61, 97, 3), np.uint8)).resize((970, 610)).save(
        buffer, "JPEG"
    )
    content = buffer.getvalue()
    assert np.array_equal(decode_upload(content, 48, Limits()), square_picture(content, 48))


def test_a_crop_of_the_whole_picture_changes_nothing():
    content = encoded((9, 8, 7), (50, 31))
    whole = decode_upload(content, 32, Limits())
    cropped = decode_upload(content, 32, Limits(), Crop(0, 0, 1, 1))
    assert np.array_equal(whole, cropped)


def test_an_api_error_has_its_status():
    with pytest.raises(ApiError) as caught:
        decode_upload(SVG, 32, Limits())
    assert caught.value.status == 415
