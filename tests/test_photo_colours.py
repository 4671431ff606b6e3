"""Outside of the mask a result looks as the photograph does, for whoever manages colours."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffcam_jax.faces import icc
from diffcam_jax.faces.photo import read_photo, write_photo
from tests import colour_files
from tests.photo_files import HEIGHT, WIDTH, chunk, picture, png16, saved

SRGB = ImageCms.createProfile("sRGB")
RAMP = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, WIDTH))


def view(image: Image.Image, profile: bytes) -> np.ndarray:
    """What a colour-managed program shows."""
    exact = ImageCms.Flags.NOOPTIMIZE  # without it lcms is 9 levels off where curves are steep
    seen = ImageCms.profileToProfile(
        image, io.BytesIO(profile), SRGB, outputMode="RGB", flags=exact
    )
    return np.asarray(seen).astype(int)


def result_of(path) -> Image.Image:
    """The photograph as it is written, with its own pixels everywhere."""
    out = path.with_name("result.png")
    write_photo(out, read_photo(path))
    with Image.open(out) as image:
        image.load()
        return image


def chunks_of(path) -> dict[bytes, bytes]:
    """Chunks of the written photograph by kind."""
    out = path.with_name("result.png")
    write_photo(out, read_photo(path))
    data, place, found = out.read_bytes(), 8, {}
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        found[kind] = data[place + 8 : place + 8 + length]
        place += 12 + length
    return found


def png8(extra: bytes, array: np.ndarray) -> bytes:
    """A PNG with further chunks behind its header."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()[:33] + extra + buffer.getvalue()[33:]


CURVES = {
    "gamma 1.8": colour_files.gamma(1.8),
    "linear": colour_files.table([]),
    "table": colour_files.table([0, 2000, 9000, 30000, 65535]),
    "sRGB": colour_files.parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "power": colour_files.parametric(0, 2.2),
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("curve", CURVES)
def test_a_grey_profile_becomes_one_of_colours(tmp_path, curve, suffix):
    version = 4 if CURVES[curve].startswith(b"para") else 2
    profile = colour_files.grey_profile(CURVES[curve], version=version)
    path = saved(tmp_path, RAMP, suffix, icc_profile=profile)
    with Image.open(path) as original:
        before = view(original, profile)
    result = result_of(path)
    after = view(result, result.info["icc_profile"])
    assert np.abs(before - after).max() <= 1
    assert curve == "sRGB" or np.abs(before - np.asarray(result)).max() > 3  # it does count
    np.testing.assert_array_equal(np.asarray(result)[..., 0], read_photo(path).pixels[..., 0])


@pytest.mark.parametrize(
    "curve",
    [
        colour_files.table([]),
        colour_files.gamma(1.2),
        colour_files.parametric(1, 1.5, 1.25, -0.25),
        colour_files.parametric(2, 1.5, 1.125, -0.25, 0.125),
        colour_files.parametric(4, 1.5, 0.75, 0.125, 0.5, 0.25, 0.0625, 0.03125),
    ],
)
def test_a_grey_profile_of_lightness(tmp_path, curve):
    """The curve gives L*, whose light a formula knows (CIE 15)."""
    profile = colour_files.grey_profile(curve, b"Lab ", version=4)
    result = result_of(saved(tmp_path, RAMP, icc_profile=profile))
    after = view(result, result.info["icc_profile"])
    with Image.open(tmp_path / "picture.png") as original:
        assert np.abs(view(original, profile) - after).max() <= 1


def test_a_grey_profile_of_16_bits(tmp_path):
    profile = colour_files.grey_profile(colour_files.gamma(1.0))
    path = tmp_path / "deep.png"
    body = b"grey\0\0" + zlib.compress(profile)
    path.write_bytes(png16(picture(1, np.uint16), chunk(b"iCCP", body)))
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint16
    assert photo.source.icc_profile == icc.rgb_of_grey(profile) and not photo.source.notes


@pytest.mark.parametrize("cut", [0, 100, 131, 150, 180, 200, 290])
def test_a_damaged_grey_profile_is_left_out_with_a_note(tmp_path, cut):
    profile = colour_files.grey_profile(colour_files.table(range(0, 65536, 4096)))
    path = saved(tmp_path, RAMP, icc_profile=profile[:cut].ljust(20, b"\0"))
    source = read_photo(path).source
    assert source.icc_profile is None and "profile" in source.notes[0]


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # ignored when files are read
def test_any_profile_is_used_or_left_out():
    rng = np.random.default_rng(0)
    for curve in (colour_files.parametric(4, *[1.0] * 7), colour_files.table(range(9))):
        whole = colour_files.grey_profile(curve, b"Lab ")
        for _ in range(300):
            damaged = bytearray(whole)
            for place in rng.integers(128, len(whole), 4):
                damaged[place] = rng.choice([0, 127, 128, 255, rng.integers(256)])
            found = icc.rgb_of_grey(bytes(damaged))
            assert found is None or len(found) == struct.unpack_from(">I", found)[0]


def test_profiles_of_other_pixels_are_left_out(tmp_path):
    profile = colour_files.grey_profile(colour_files.gamma(1.8))
    source = read_photo(saved(tmp_path, picture(3), icc_profile=profile)).source
    assert source.icc_profile is None and "profile" in source.notes[0]


CHUNKS = {
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
    b"sRGB": b"\1",
    b"cICP": bytes([12, 13, 0, 1]),
    b"mDCV": bytes(range(24)),
    b"cLLI": bytes(range(8)),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_chunks_of_a_png_are_kept(tmp_path, channels, bits):
    extra = b"".join(chunk(kind, body) for kind, body in CHUNKS.items())
    path = tmp_path / "photo.png"
    array = picture(channels, np.uint8 if bits == 8 else np.uint16)
    path.write_bytes(png8(extra, array.squeeze()) if bits == 8 else png16(array, extra))
    found = chunks_of(path)
    assert {kind: found.get(kind) for kind in CHUNKS} == CHUNKS
    image = result_of(path)
    assert image.info["gamma"] == 1 and image.info["srgb"] == 1
    assert image.info["chromaticity"][2:4] == pytest.approx((0.68, 0.32))
    np.testing.assert_array_equal(read_photo(tmp_path / "result.png").pixels[..., 0], array[..., 0])


def test_a_profile_goes_before_older_chunks(tmp_path):
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes()
    extra = b"".join(chunk(kind, body) for kind, body in CHUNKS.items())
    extra += chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
    path = tmp_path / "photo.png"
    path.write_bytes(png8(extra, picture(3)))
    found = chunks_of(path)
    assert {kind for kind in found if kind in CHUNKS} == {b"cICP", b"mDCV", b"cLLI"}
    assert result_of(path).info["icc_profile"] == profile


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"gAMA", b"\0\0"),
        chunk(b"cICP", b""),
        chunk(b"gAMA", CHUNKS[b"gAMA"])[:-1] + b"\0",  # of a wrong checksum
    ],
)
def test_damaged_chunks_are_left_out(tmp_path, extra):
    path = tmp_path / "photo.png"
    path.write_bytes(png16(picture(3, np.uint16), extra) if extra[3] else png8(extra, picture(3)))
    try:
        found = chunks_of(path)
    except Exception as error:
        assert "not a picture" in str(error)  # Pillow checks the sums of chunks itself
    else:
        assert not {b"gAMA", b"cICP"} & set(found)


def test_a_plain_picture_is_written_as_ever(tmp_path):
    """Nothing but header, pixels and end, and the resolution of a JPEG."""
    plain = saved(tmp_path, picture(3))
    assert set(chunks_of(plain)) == {b"IHDR", b"IDAT", b"IEND"}
    jpeg = saved(tmp_path, picture(3), ".jpg", dpi=(300, 300))
    assert set(chunks_of(jpeg)) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_a_profile_in_a_bmp(tmp_path):
    """The fifth version of the header, written byte by byte."""
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes()
    rows = np.pad(picture(3)[::-1, :, ::-1].reshape(HEIGHT, -1), ((0, 0), (0, -3 * WIDTH % 4)))
    head = struct.pack("<IiiHHIIiiII", 124, WIDTH, HEIGHT, 1, 24, 0, rows.size, 0, 0, 0, 0)
    head += bytes(16) + b"DEBM" + bytes(48)  # "MBED", little-endian
    head += struct.pack("<IIII", 4, 124 + rows.size, len(profile), 0)
    size = 14 + len(head) + rows.size + len(profile)
    path = tmp_path / "photo.bmp"
    path.write_bytes(struct.pack("<2sIII", b"BM", size, 0, 138) + head + rows.tobytes() + profile)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, picture(3))
    assert len(head) == 124 and photo.source.icc_profile == profile


def adobe_exif(rules: str | None, space: int) -> bytes:
    exif = Image.Exif()
    exif[0x8769] = {0xA001: space} | ({0xA005: {1: rules, 2: b"0100"}} if rules else {})
    return exif.tobytes()


@pytest.mark.parametrize(
    ("suffix", "rules", "space"),
    [(".jpg", "R03", 0xFFFF), (".png", "R03", 0xFFFF), (".webp", "R03", 0xFFFF), (".tif", None, 2)],
)
def test_adobe_rgb_that_only_exif_data_tell_of(tmp_path, suffix, rules, space):
    path = saved(tmp_path, picture(3), suffix, exif=adobe_exif(rules, space))
    assert read_photo(path).source.icc_profile == icc.adobe_rgb()


def test_adobe_rgb_that_the_entries_of_a_tiff_tell_of(tmp_path):
    """Pillow writes no interoperability entries into a TIFF, so its head is made as EXIF data.

    Pillow itself adds to the place of the pixels, 273, what comes before them.
    """
    array, exif = picture(3), Image.Exif()
    exif.load(adobe_exif("R03", 0xFFFF))
    head = {256: WIDTH, 257: HEIGHT, 258: (8, 8, 8), 262: 2, 277: 3, 278: HEIGHT, 273: 0}
    for tag, value in (head | {279: array.size}).items():
        exif[tag] = value
    path = tmp_path / "photo.tif"
    path.write_bytes(exif.tobytes().removeprefix(b"Exif\0\0") + array.tobytes())
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, array)
    assert photo.source.icc_profile == icc.adobe_rgb()


@pytest.mark.parametrize(("rules", "space"), [("R98", 1), ("R98", 0xFFFF), (None, 0xFFFF)])
def test_other_exif_data_mean_srgb(tmp_path, rules, space):
    path = saved(tmp_path, picture(3), ".jpg", exif=adobe_exif(rules, space))
    assert read_photo(path).source.icc_profile is None


def test_inks_of_a_camera_are_srgb_afterwards(tmp_path):
    path = saved(tmp_path, picture(3), ".jpg", "CMYK", exif=adobe_exif("R03", 0xFFFF))
    assert read_photo(path).source.icc_profile is None
    result_of(path)
    again = read_photo(tmp_path / "result.png").source
    assert again.icc_profile is None and again.metadata.exif


def test_adobe_rgb_by_its_definition():
    """Adobe RGB (1998), 4.3: primaries, white D65 and gamma, adapted to D50 by Bradford."""
    xy = np.array([[0.64, 0.33], [0.21, 0.71], [0.15, 0.06]])
    primaries = np.c_[xy, 1 - xy.sum(1)].T / xy[:, 1]
    d65, d50 = np.array([0.9505, 1, 1.0891]), np.array([0.9642, 1, 0.8249])
    to_xyz = primaries * np.linalg.solve(primaries, d65)
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    adapted = np.linalg.inv(bradford) @ np.diag(bradford @ d50 / (bradford @ d65)) @ bradford
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc.adobe_rgb())).profile
    found = np.array([profile.red_primary[0], profile.green_primary[0], profile.blue_primary[0]]).T
    np.testing.assert_allclose(found, adapted @ to_xyz, atol=2e-4)
    np.testing.assert_allclose(found.sum(1), d50, atol=1e-4)


def test_a_bomb_of_a_profile_is_left_out(tmp_path):
    path = tmp_path / "bomb.png"
    bomb = zlib.compress(bytes(40 << 20))
    path.write_bytes(png8(chunk(b"iCCP", b"x\0\0" + bomb), picture(3)))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, picture(3))
    assert photo.source.icc_profile is None and "profile" in photo.source.notes[0]


def test_a_large_profile_is_kept(tmp_path):
    """Pillow itself refuses a PNG whose profile has more than 1 MiB."""
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes() + bytes(3 << 20)
    path = tmp_path / "large.png"
    path.write_bytes(png8(chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)), picture(3)))
    assert read_photo(path).source.icc_profile == profile
