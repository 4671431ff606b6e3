"""Forms of pictures that other programs write: transparency, numbers, HEIC, JPEG 2000, frames."""

import importlib.util
import struct
import sys
import tomllib
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from diffcam_jax.faces.photo import list_photos, read_photo, write_photo
from tests.photo_files import HEIGHT, WIDTH, chunk, picture, png16, refusal, saved

# ---------------------------------------------------------------- transparent colours of PNG


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits(tmp_path, channels):
    stored = picture(channels, np.uint16)
    stored[5:9, 5:9] = key = stored[5, 5]
    path = tmp_path / "deep.png"
    path.write_bytes(png16(stored, chunk(b"tRNS", key.astype(">u2").tobytes())))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels[..., 0], stored[..., 0])
    np.testing.assert_array_equal(photo.alpha, np.where((stored == key).all(-1), 0, 65535))
    write_photo(tmp_path / "out.png", photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "out.png").alpha, photo.alpha)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_8_bits(tmp_path, channels):
    stored = picture(channels)
    stored[5:9, 5:9] = key = stored[5, 5]
    transparency = int(key[0]) if channels == 1 else tuple(map(int, key))
    photo = read_photo(saved(tmp_path, stored, transparency=transparency))
    np.testing.assert_array_equal(photo.pixels[..., 0], stored[..., 0])
    np.testing.assert_array_equal(photo.alpha, np.where((stored == key).all(-1), 0, 255))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_grey_of_few_bits(tmp_path, bits):
    most = 2**bits - 1
    stored = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % (most + 1)
    data = bytearray(png16(np.zeros((HEIGHT, WIDTH, 1), np.uint16)))
    unpacked = (stored[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(unpacked.reshape(HEIGHT, -1), axis=1)
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    data = data[:8] + chunk(b"IHDR", head) + chunk(b"tRNS", struct.pack(">H", most - 1))
    path = tmp_path / "few.png"
    path.write_bytes(data + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels[..., 1], stored * (255 // most))
    np.testing.assert_array_equal(photo.alpha, np.where(stored == most - 1, 0, 255))


# ---------------------------------------------------------------- TIFF


def tiff(tmp_path, array, **options):
    path = tmp_path / "numbers.tif"
    tifffile.imwrite(path, array, **options)
    return path


def test_floating_point_grey(tmp_path):
    grey = np.random.default_rng(0).random((HEIGHT, WIDTH), np.float32)
    photo = read_photo(tiff(tmp_path, grey))
    np.testing.assert_array_equal(photo.pixels[..., 2], np.round(grey.astype(float) * 65535))
    assert photo.pixels.dtype == np.uint16


@pytest.mark.parametrize("wrong", [-0.5, 3.0, np.nan, np.inf])
def test_floating_point_grey_without_a_known_white(tmp_path, wrong):
    grey = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    grey[3, 3] = wrong
    assert "0 to 1" in refusal(tiff(tmp_path, grey))


@pytest.mark.parametrize(
    ("dtype", "most"),
    [(np.uint32, 2**32 - 1), (np.int32, 2**31 - 1), (np.int32, 65535), (np.int16, 2**15 - 1)],
)
def test_integers_are_taken_by_their_range(tmp_path, dtype, most):
    part = np.random.default_rng(0).random((HEIGHT, WIDTH))
    part[0, 0] = 1
    stored = np.round(part * most).astype(dtype)
    photo = read_photo(tiff(tmp_path, stored))
    assert np.abs(photo.pixels[..., 0] - part * 65535).max() <= (1.6 if most < 65535 else 1)


def test_grey_of_12_bits(tmp_path):
    """Two numbers in three bytes; Pillow itself writes the place of the pixels, 273."""
    stored = picture(1, np.uint16)[..., 0] >> 4
    first, second = stored[:, ::2].astype(int), stored[:, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    tags, exif = (
        {256: WIDTH, 257: HEIGHT, 258: 12, 262: 1, 277: 1, 278: HEIGHT, 273: 0},
        Image.Exif(),
    )
    exif.endian = "<"
    for tag, value in (tags | {279: packed.size}).items():
        exif[tag] = value
    path = tmp_path / "camera.tif"
    path.write_bytes(exif.tobytes().removeprefix(b"Exif\0\0") + packed.astype(np.uint8).tobytes())
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels[..., 0], np.round(stored * (65535 / 4095)))


def test_negative_integers_are_refused(tmp_path):
    assert "-7" in refusal(tiff(tmp_path, np.full((HEIGHT, WIDTH), -7, np.int32)))


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (np.ones((HEIGHT, WIDTH, 3), np.float32), {"photometric": "rgb"}, "32-bit floating-point"),
        (np.ones((HEIGHT, WIDTH), np.float16), {}, "16-bit floating-point"),
        (np.ones((HEIGHT, WIDTH, 3), np.uint32), {"photometric": "rgb"}, "3 x 32 bits"),
        (np.ones((HEIGHT, WIDTH, 3), np.int16), {"photometric": "rgb"}, "signed 16-bit"),
        (np.ones((HEIGHT, WIDTH, 3), np.uint16), {"photometric": "cielab"}, "LAB with 16 bits"),
        (np.ones((HEIGHT, WIDTH), np.uint16), {"photometric": "cfa"}, "raw data"),
    ],
)
def test_a_tiff_that_cannot_be_read_says_why(tmp_path, array, options, words):
    message = refusal(tiff(tmp_path, array, **options))
    assert words in message and "save it as" in message and "damaged" not in message


def test_lab(tmp_path):
    """CIE 1976 and IEC 61966-2-1, with Bradford's adaptation from D50."""
    rng = np.random.default_rng(0)
    lab = np.stack(
        [rng.uniform(30, 80, (HEIGHT, WIDTH)), *rng.uniform(-15, 15, (2, HEIGHT, WIDTH))]
    )
    stored = np.round([lab[0] * 2.55, lab[1], lab[2]]).astype(np.int16)
    f_y = (stored[0] / 2.55 + 16) / 116
    f = np.stack([f_y + stored[1] / 500, f_y, f_y - stored[2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, (f - 16 / 116) * 108 / 841) * [0.9642, 1, 0.8249]
    to_rgb = np.array(
        [
            [3.1338561, -1.6168667, -0.4906146],
            [-0.9787684, 1.9161415, 0.0334540],
            [0.0719453, -0.2289914, 1.4052427],
        ]
    )
    light = xyz @ to_rgb.T
    rgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clip(0) ** (1 / 2.4) - 0.055)
    photo = read_photo(
        tiff(tmp_path, stored.transpose(1, 2, 0).astype(np.uint8), photometric="cielab")
    )
    assert photo.source.mode == "LAB" and photo.source.icc_profile is None
    assert rgb.min() > 0 and rgb.max() < 1
    np.testing.assert_allclose(photo.pixels, rgb * 255, atol=1.5)


# ---------------------------------------------------------------- HEIC and AVIF

TURNED = {3: lambda a: a[::-1, ::-1], 6: lambda a: np.rot90(a, -1), 8: lambda a: np.rot90(a, 1)}


def heic(tmp_path, array, mode, name="phone.heic", **options):
    path = tmp_path / name
    made = pillow_heif.from_bytes(mode, array.shape[1::-1], np.ascontiguousarray(array).tobytes())
    made.save(path, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return path


@pytest.mark.parametrize("name", ["phone.heic", "PHONE.HEIC", "phone.heif", "phone.jpg"])
def test_heic(tmp_path, name):
    photo = read_photo(heic(tmp_path, picture(3), "RGB", name))
    np.testing.assert_allclose(photo.pixels.astype(int), picture(3), atol=1)
    assert photo.source.format == "HEIF" and photo.pixels.dtype == np.uint8
    assert not photo.source.colour_chunks and photo.alpha is None


def test_heic_with_alpha(tmp_path):
    photo = read_photo(heic(tmp_path, picture(4), "RGBA"))
    np.testing.assert_allclose(photo.alpha.astype(int), picture(4)[..., 3], atol=1)


def test_heic_of_10_bits_with_alpha(tmp_path):
    stored = picture(4, np.uint16)
    photo = read_photo(heic(tmp_path, stored, "RGBA;16"))
    np.testing.assert_allclose(photo.alpha.astype(int), stored[..., 3], atol=65)
    np.testing.assert_allclose(photo.pixels.astype(int), stored[..., :3], atol=130)


def test_heic_of_10_bits(tmp_path):
    ramp = np.linspace(0, 65535, HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3)
    photo = read_photo(heic(tmp_path, ramp.astype(np.uint16), "RGB;16"))
    assert photo.pixels.dtype == np.uint16 and photo.pixels.max() == 65535
    assert np.abs(photo.pixels - ramp).max() <= 65535 / 1023 + 1
    assert len(np.unique(photo.pixels)) > 1000


@pytest.mark.parametrize("orientation", TURNED)
def test_heic_is_turned_once(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = pillow_heif.from_pillow(Image.fromarray(picture(3)))
    path = tmp_path / "phone.heic"
    made.save(path, quality=-1, chroma=444, matrix_coefficients=0, exif=exif.tobytes())
    shown = TURNED[orientation](picture(3))
    photo = read_photo(path)
    np.testing.assert_allclose(photo.pixels.astype(int), shown, atol=1)
    write_photo(tmp_path / "out.png", photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "out.png").pixels, photo.pixels)


def test_heic_colours(tmp_path):
    profile = b"\0" * 16 + b"RGB " + b"\0" * 200
    wide = heic(tmp_path, picture(3), "RGB", color_primaries=12, transfer_characteristic=13)
    assert read_photo(wide).source.colour_chunks == ((b"cICP", bytes([12, 13, 0, 1])),)
    made = pillow_heif.from_bytes("RGB", (WIDTH, HEIGHT), picture(3).tobytes())
    made[0].info["icc_profile"] = profile
    made.save(tmp_path / "icc.heic", icc_profile=profile)
    assert read_photo(tmp_path / "icc.heic").source.icc_profile == profile


def test_heic_without_its_package(tmp_path, monkeypatch):
    path = heic(tmp_path, picture(3), "RGB")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "'.[heic]'" in refusal(path)


def test_damaged_heic(tmp_path):
    path = heic(tmp_path, picture(3), "RGB")
    whole = path.read_bytes()
    for length in (20, 100, 400, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        refusal(path)


def avif(tmp_path, brand: bytes = b"avif"):
    path = saved(tmp_path, picture(3), ".avif", quality=100, subsampling="4:4:4")
    data = bytearray(path.read_bytes())
    data[8:12] = brand
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("brand", [b"avif", b"mif1"])
def test_avif_is_known_by_any_of_its_brands(tmp_path, brand):
    photo = read_photo(avif(tmp_path, brand))
    assert photo.source.format == "AVIF" and not photo.source.colour_chunks
    np.testing.assert_allclose(photo.pixels.astype(int), picture(3), atol=8)


def test_avif_colours(tmp_path):
    path = avif(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.index(b"colrnclx") + 8
    data[place : place + 4] = struct.pack(">HH", 9, 16)
    path.write_bytes(data)
    assert read_photo(path).source.colour_chunks == ((b"cICP", bytes([9, 16, 0, 1])),)


# ---------------------------------------------------------------- JPEG 2000


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_2000_of_8_bits(tmp_path, channels):
    photo = read_photo(saved(tmp_path, picture(channels), ".jp2"))
    np.testing.assert_array_equal(photo.pixels[..., 0], picture(channels)[..., 0])
    assert photo.pixels.dtype == np.uint8 and photo.source.format == "JPEG2000"


def jp2_16(array) -> bytes:
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    return cv2.imencode(".jp2", array[..., ::-1].squeeze(), lossless)[1].tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_2000_of_16_bits(tmp_path, channels):
    path = tmp_path / "deep.jp2"
    path.write_bytes(jp2_16(picture(channels, np.uint16)))
    photo = read_photo(path)
    stored = np.broadcast_to(picture(channels, np.uint16), (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(photo.pixels, stored)


def test_jpeg_2000_of_12_bits(tmp_path):
    """A file of 16 bits says 12 in its head; decoders add half of the range, so 2048 for 32768."""
    stored = picture(3, np.uint16) >> 4
    data = bytearray(jp2_16(stored + 32768 - 2048))
    head = data.index(b"\xff\x4f\xff\x51") + 42
    data[head : head + 9 : 3] = b"\x0b\x0b\x0b"
    data[data.index(b"ihdr") + 14] = 0x0B
    path = tmp_path / "deep.jp2"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_photo(path).pixels, np.round(stored * (65535 / 4095)))


def test_jpeg_2000_with_a_profile(tmp_path):
    profile = b"\0" * 16 + b"RGB " + b"\0" * 200
    data = saved(tmp_path, picture(3), ".jp2").read_bytes()
    place = data.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", data, place)
    box = struct.pack(">I4s3B", 11 + len(profile), b"colr", 2, 0, 0) + profile
    head = data.index(b"jp2h") - 4
    size = struct.unpack_from(">I", data, head)[0] + len(box) - length
    data = data[:head] + struct.pack(">I", size) + data[head + 4 : place] + box
    path = tmp_path / "profile.jp2"
    path.write_bytes(data + (tmp_path / "picture.jp2").read_bytes()[place + length :])
    assert read_photo(path).source.icc_profile == profile


# ---------------------------------------------------------------- names and frames


def test_every_name_of_a_picture_is_listed_and_read(tmp_path):
    for name in ("a.jfif", "b.jpe", "c.JPG", "d.Jp2", "e.PNG", "f.WEBP", "g.AVIF", "h.TIFF"):
        kind = {"jfif": "JPEG", "jpe": "JPEG", "jpg": "JPEG", "jp2": "JPEG2000"}
        suffix = name.partition(".")[2].lower()
        Image.fromarray(picture(3)).save(tmp_path / name, kind.get(suffix, suffix.upper()))
    found = list_photos(tmp_path)
    assert len(found) == 8
    assert all(read_photo(path).pixels.shape == (HEIGHT, WIDTH, 3) for path in found)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_the_first_frame_is_taken_only_when_asked_for(tmp_path, suffix):
    shades = [Image.new("RGB", (WIDTH, HEIGHT), (shade, 0, 0)) for shade in (200, 100)]
    path = tmp_path / f"moving{suffix}"
    shades[0].save(path, save_all=True, append_images=shades[1:])
    assert "--first-frame" in refusal(path)
    photo = read_photo(path, first_frame=True)
    np.testing.assert_allclose(photo.pixels[..., 0].astype(int), 200, atol=3)


def test_a_still_picture_does_not_mind_the_flag(tmp_path):
    path = saved(tmp_path, picture(3))
    np.testing.assert_array_equal(read_photo(path, first_frame=True).pixels, picture(3))


def test_the_package_for_heic_is_an_extra():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    (needed,) = project["project"]["optional-dependencies"]["heic"]
    assert needed.startswith("pillow-heif>=") and importlib.util.find_spec("pillow_heif")
