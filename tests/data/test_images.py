from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from siamese.data.images import MAX_PIXELS, PictureError, open_picture, square_picture

ORIENTATION = 0x0112
# Looks different after every rotation and flip.
CORNERS = np.kron(
    np.array(
        [[[220, 30, 30], [30, 200, 40], [30, 40, 210]], [[240, 230, 40], [20, 20, 20], [120] * 3]],
        np.uint8,
    ),
    np.ones((16, 16, 1), np.uint8),
)
GREY = np.tile(np.linspace(0, 255, 48).round().astype(np.uint8), (32, 1))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels(source: bytes | Path, **options: Any) -> np.ndarray:
    image = open_picture(source, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def assert_close(got: np.ndarray, expected: np.ndarray, mean: float = 4.0) -> None:
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected.astype(int)).mean() < mean


def smooth_photo(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 6, width), np.linspace(0, 4, height))
    channels = [128 + 100 * np.sin(x + shift) * np.cos(y * (1 + shift)) for shift in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


# CORNERS as stored, so that the orientation makes it upright.
STORED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: np.rot90(CORNERS, 1),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    options = {"quality": 95} if form in ("JPEG", "WEBP") else {}
    assert_close(pixels(encoded(stored, form, exif=exif, **options)), CORNERS, 8)


def exif_block(*fields: bytes) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + b"".join(fields) + bytes(4)


ROTATED = struct.pack("<HHII", ORIENTATION, 3, 1, 6)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("block", "rotated"),
    [
        (exif_block(ROTATED, struct.pack("<HHII", 0x9000, 4, 1, 3)), True),  # odd type
        (exif_block(ROTATED, struct.pack("<HHII", 0x011A, 5, 1, 0x7FFFFFFF)), True),  # no value
        (exif_block(ROTATED)[:16], False),
        (exif_block(struct.pack("<HHII", ORIENTATION, 3, 1, 77)), False),
        (exif_block(struct.pack("<HHI4s", ORIENTATION, 2, 4, b"abc\0")), False),
        (b"Exif\0\0nothing of the sort", False),
    ],
)
def test_damaged_exif_is_ignored(form: str, block: bytes, rotated: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = encoded(Image.new("RGB", (30, 20)), form, exif=block)
        assert open_picture(data).size == ((20, 30) if rotated else (30, 20))


def test_cmyk() -> None:
    cmyk = Image.fromarray(CORNERS).convert("CMYK")
    assert_close(pixels(encoded(cmyk, "TIFF")), CORNERS)
    # As Photoshop and Pillow write it: inverted, with an Adobe marker.
    data = encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in data
    assert_close(pixels(data), CORNERS, 8)


def test_transparency_of_a_palette_becomes_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    assert pixels(encoded(image, "PNG", transparency=0)).tolist() == [
        [[255, 255, 255], [200, 100, 0]]
    ]
    half = pixels(encoded(image, "PNG", transparency=bytes([128, 255])))
    assert_close(half[0, 0], np.array([132, 137, 142]), 2)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_becomes_white(mode: str, form: str) -> None:
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0)).convert(mode)
    image.paste((100, 255) if mode == "LA" else (100, 100, 100, 255), (16, 0, 32, 32))
    got = pixels(encoded(image, form))
    assert_close(got[:, :14], np.full((32, 14, 3), 255), 2)
    assert_close(got[:, 18:], np.full((32, 14, 3), 100), 2)


def test_transparent_colour_of_rgb_becomes_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    assert pixels(encoded(image, "PNG", transparency=(1, 2, 3))).tolist() == [[[255] * 3, [9] * 3]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(form: str) -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert_close(pixels(encoded(deep, form))[..., 1], GREY, 0.01)


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.float32) / 255,
        GREY.astype(np.float32),
        GREY.astype(np.float32) * 257,
        GREY.astype(np.int32),
        GREY.astype(np.int32) * 257,
        GREY.astype(np.int32) * 2**22,
    ],
)
def test_32_bit_grey_is_scaled_by_its_white(values: np.ndarray) -> None:
    assert_close(pixels(encoded(Image.fromarray(values), "TIFF"))[..., 1], GREY, 0.01)


def test_infinite_and_missing_values_are_black() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, -3, 255]], np.float32)
    assert pixels(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 0, 0, 0, 255]


def test_one_bit_and_grey() -> None:
    grey = Image.fromarray(GREY)
    bits = grey.point(lambda value: 255 * (value > 99)).convert("1")
    assert_close(pixels(encoded(bits, "PNG"))[..., 2], 255 * (GREY > 99), 0.01)
    assert_close(pixels(encoded(grey, "PNG"))[..., 0], GREY, 0.01)


@pytest.mark.parametrize(
    ("form", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})]
)
def test_first_frame_of_an_animation(form: str, options: dict[str, Any]) -> None:
    first = Image.fromarray(CORNERS)
    data = encoded(
        first,
        form,
        save_all=True,
        append_images=[Image.new("RGB", first.size, "white")],
        duration=100,
        **options,
    )
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
    assert_close(pixels(data), CORNERS, 1)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("WEBP", {"quality": 95}),
        ("AVIF", {"quality": 95}),
        ("JPEG2000", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("ICO", {"sizes": [(48, 32)]}),
        ("TGA", {}),
    ],
)
def test_file_formats(form: str, options: dict[str, Any], tmp_path: Path) -> None:
    if form in ("AVIF", "WEBP") and not features.check(form.lower()):
        pytest.skip(f"this Pillow has no {form}")
    data = encoded(Image.fromarray(CORNERS), form, **options)
    # From bytes and from a file with any suffix.
    path = tmp_path / "picture.txt"
    path.write_bytes(data)
    assert_close(pixels(data), CORNERS, 8)
    assert np.array_equal(pixels(path), pixels(data))


@pytest.mark.parametrize("size", [(1024, 768), (700, 1300), (90, 60)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_reduced_decoding_keeps_the_content(size: tuple[int, int], mode: str) -> None:
    data = encoded(smooth_photo(*size).convert(mode), "JPEG", quality=95)
    drafted = open_picture(data, longest_side=64)
    assert max(drafted.size) >= min(128, max(size))  # neither too small nor larger than needed
    assert max(drafted.size) < max(size) or max(size) < 256
    full = square_picture(open_picture(data), 64)
    assert_close(square_picture(data, 64), full, 2.5)


def test_padding_is_white_and_centred() -> None:
    wide = encoded(Image.new("RGB", (60, 20), (200, 0, 0)), "PNG")
    got = square_picture(wide, 30)
    assert got.shape == (30, 30, 3)
    assert got.dtype == np.uint8
    assert (got[:9] == 255).all()
    assert (got[-9:] == 255).all()
    assert (got[11:19] == [200, 0, 0]).all()
    tall = square_picture(encoded(Image.new("RGB", (20, 60), (200, 0, 0)), "PNG"), 30)
    assert np.array_equal(tall, got.transpose(1, 0, 2))


def test_resizing_antialiases() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    got = square_picture(encoded(Image.fromarray(stripes), "PNG"), 32).astype(int)
    assert np.abs(got - 127.5).max() < 5


def test_square_of_the_right_size_is_unchanged() -> None:
    square = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    assert np.array_equal(square_picture(encoded(square, "PNG"), 24), np.asarray(square))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (1, 65000), (3, 2)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_extreme_sizes(size: tuple[int, int], form: str) -> None:
    got = square_picture(encoded(Image.new("RGB", size, (0, 0, 0)), form), 32)
    assert got.shape == (32, 32, 3)
    if size == (1, 1):
        assert (got == 0).all()
    elif max(size) > 5:
        assert got.mean() > 250  # a thin line on white


def huge(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 120, 3), np.uint8))


def cut(form: str, share: float = 0.6) -> bytes:
    data = encoded(NOISE, form)
    return data[: int(len(data) * share)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"There is no picture here.", "not a picture"),
        (b"%PDF-1.7 nor here", "not a picture"),
        (cut("JPEG"), "truncated or damaged"),
        (cut("JPEG", 0.99), "truncated or damaged"),
        (cut("PNG"), "truncated or damaged"),
        (cut("WEBP"), "truncated or damaged"),
        (cut("GIF"), "truncated or damaged"),
        (cut("TIFF"), "truncated or damaged"),
        (cut("BMP"), "truncated or damaged"),
        (encoded(NOISE, "PNG")[:20], "truncated or damaged"),
        (encoded(NOISE, "PNG").replace(b"IDAT", b"IDA?"), "not a picture"),
        (huge(10_001, 10_000), "absurdly large (10001 x 10000 pixels, limit 100,000,000)"),
        (huge(60_000, 60_000), "absurdly large (limit 100,000,000 pixels)"),
        (huge(2**31 - 1, 2**31 - 1), "absurdly large (limit 100,000,000 pixels)"),
    ],
)
@pytest.mark.parametrize("use", [open_picture, lambda source: square_picture(source, 16)])
def test_invalid_picture_raises_one_line(
    data: bytes, reason: str, use: Callable[[bytes | Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(PictureError) as raised:
            use(source)
        assert str(raised.value).startswith(reason)
        assert "\n" not in str(raised.value)


def test_invalid_file_raises_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for source, reason in [
        (tmp_path / "gone.jpg", "file missing"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe.jpg", "not a regular file"),
        (tmp_path / ("x" * 300), "unreadable (file name too long)"),
        (tmp_path / "nul\0.jpg", "damaged (ValueError: embedded null byte)"),
    ]:
        with pytest.raises(PictureError) as raised:
            open_picture(source)
        assert str(raised.value) == reason


def test_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(NOISE, "PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(PictureError, match=r"unreadable \(permission denied\)"):
        open_picture(path)


def test_large_picture_below_the_limit_is_accepted() -> None:
    count = 9_600 * 9_500
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < count < MAX_PIXELS  # Pillow alone would warn
    data = encoded(Image.new("1", (9_600, 9_500), 1), "PNG")
    with warnings.catch_warnings(record=True) as caught:
        assert (square_picture(data, 8) > 240).all()
    assert not caught


def test_errors_in_threads_leave_warning_filters_alone() -> None:
    open_picture(encoded(NOISE, "PNG"))  # silences Pillow, once
    before = list(warnings.filters)
    sources = [huge(10_001, 10_000), encoded(NOISE, "JPEG"), cut("PNG")] * 20

    def describe(source: bytes) -> str:
        try:
            return str(open_picture(source, longest_side=16).size)
        except PictureError as error:
            return str(error)[:9]

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(describe, sources))
    assert set(outcomes) == {"absurdly ", "(120, 99)", "truncated"}
    assert warnings.filters == before
