"""Reading and writing photographs: depths, alpha, orientation and everything that can be wrong with
a file.
"""

import io
import os

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from diffcam_jax.errors import UserError
from diffcam_jax.faces.decoding import MIN_SIDE
from diffcam_jax.faces.photo import FileInfo, Photo, list_photos, read_photo, write_photo
from tests.photo_files import HEIGHT, WIDTH, chunk, picture, png16, refusal, saved


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_bit_png(tmp_path, channels):
    stored = picture(channels)
    photo = read_photo(saved(tmp_path, stored))
    expected = np.repeat(stored[..., :1], 3, axis=-1) if channels < 3 else stored[..., :3]
    np.testing.assert_array_equal(photo.pixels, expected)
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, stored[..., -1])
    else:
        assert photo.alpha is None
    assert photo.pixels.dtype == np.uint8 and photo.source.format == "PNG"
    assert photo.source.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png(tmp_path, channels):
    stored = picture(channels, np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(png16(stored))
    photo = read_photo(path)
    expected = np.repeat(stored[..., :1], 3, axis=-1) if channels < 3 else stored[..., :3]
    np.testing.assert_array_equal(photo.pixels, expected)
    assert photo.pixels.dtype == np.uint16
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, stored[..., -1])
    else:
        assert photo.alpha is None


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff(tmp_path, channels, byteorder):
    stored = picture(channels, np.uint16)
    path = tmp_path / "deep.tif"
    kind = {"photometric": "minisblack"} if channels == 1 else {"photometric": "rgb"}
    if channels == 4:
        kind["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(path, stored.squeeze(), byteorder=byteorder, compression="deflate", **kind)
    photo = read_photo(path)
    np.testing.assert_array_equal(
        photo.pixels, np.broadcast_to(stored[..., :3], (HEIGHT, WIDTH, 3))
    )
    assert (photo.alpha is not None) == (channels == 4)


def test_16_bit_tiff_with_white_as_zero(tmp_path):
    stored = picture(1, np.uint16)[..., 0]
    path = tmp_path / "negative.tif"
    tifffile.imwrite(path, stored, photometric="miniswhite")
    np.testing.assert_array_equal(read_photo(path).pixels[..., 1], 65535 - stored)


def test_palette_with_and_without_transparency(tmp_path):
    indices = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
    image = Image.fromarray(indices)
    image.putpalette([250, 0, 0, 0, 240, 0, 0, 0, 230])
    colours = np.diag([250, 240, 230]).astype(np.uint8)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=1)
    opaque, clear = read_photo(tmp_path / "opaque.png"), read_photo(tmp_path / "clear.png")
    np.testing.assert_array_equal(opaque.pixels, colours[indices])
    np.testing.assert_array_equal(clear.pixels, colours[indices])
    assert opaque.alpha is None and opaque.source.mode == "P"
    np.testing.assert_array_equal(clear.alpha, np.where(indices == 1, 0, 255))


def test_cmyk_jpeg(tmp_path):
    flat = np.tile(
        np.array([0, 255, 255, 0], np.uint8), (HEIGHT, WIDTH, 1)
    )  # magenta and yellow ink make red
    path = tmp_path / "inks.jpg"
    Image.fromarray(flat, "CMYK").save(path, quality=95)
    photo = read_photo(path)
    assert photo.source.mode == "CMYK" and photo.source.icc_profile is None
    np.testing.assert_allclose(photo.pixels[10, 10].astype(int), [255, 0, 0], atol=6)


UPRIGHT_TO_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["png8", "jpeg", "png16", "tiff16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, kind):
    upright = picture(3, np.uint16 if kind.endswith("16") else np.uint8)
    if kind == "jpeg":
        upright = (
            np.broadcast_to(np.linspace(0, 200, WIDTH)[None, :, None], upright.shape)
            .astype(np.uint8)
            .copy()
        )
        upright[: HEIGHT // 2] += 50
    stored = np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    if kind == "png16":
        path.write_bytes(png16(stored, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))))
    elif kind == "tiff16":
        tifffile.imwrite(
            path, stored, photometric="rgb", extratags=[(274, "H", 1, orientation, True)]
        )
    else:
        Image.fromarray(stored).save(
            path,
            "JPEG" if kind == "jpeg" else "PNG",
            exif=exif,
            **({"quality": 95} if kind == "jpeg" else {}),
        )
    np.testing.assert_allclose(
        read_photo(path).pixels.astype(int), upright.astype(int), atol=12 if kind == "jpeg" else 0
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_written_photo_reads_back_whole(tmp_path, dtype, with_alpha):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = picture(1, dtype)[..., 0] if with_alpha else None
    photo = Photo(picture(3, dtype), alpha, FileInfo("JPEG", "RGB", profile, (300.0, 150.0)))
    path = tmp_path / "new" / "folder" / "out.png"
    write_photo(path, photo)
    again = read_photo(path)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert again.pixels.dtype == dtype
    assert (again.alpha is None) if alpha is None else np.array_equal(again.alpha, alpha)
    assert again.source.icc_profile == profile
    np.testing.assert_allclose(again.source.dpi, (300, 150), rtol=1e-3)
    with Image.open(path) as image:
        image.verify()  # checks every chunk's CRC
    assert os.listdir(path.parent) == ["out.png"]


def test_bare_pixels_can_be_written(tmp_path):
    write_photo(tmp_path / "bare.png", picture(3))
    with Image.open(tmp_path / "bare.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture(3))
        assert "icc_profile" not in image.info


def test_a_grey_profile_is_not_passed_on_to_rgb(tmp_path):
    grey_profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    grey_profile[16:20] = b"GRAY"
    path = saved(tmp_path, picture(1), icc_profile=bytes(grey_profile))
    assert read_photo(path).source.icc_profile is None


def test_missing_file_and_folder(tmp_path):
    assert "no such file" in refusal(tmp_path / "nothing.png")
    assert "folder" in refusal(tmp_path)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert "0 bytes" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [b"not a picture at all", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xff\xd8\xff"],
)
def test_not_a_picture(tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    assert "not a picture" in refusal(path)


def test_heic_is_named(tmp_path):
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert "HEIC" in refusal(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_truncated_file(tmp_path, suffix):
    path = saved(tmp_path, picture(3), suffix)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


def test_truncated_jpeg_says_so(tmp_path):
    path = saved(tmp_path, picture(3), ".jpg")
    path.write_bytes(path.read_bytes()[:-200])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_truncated_16_bit_file_is_refused_in_silence(tmp_path, capfd, suffix):
    path = tmp_path / f"deep{suffix}"
    if suffix == ".png":
        path.write_bytes(png16(picture(3, np.uint16))[:-5000])
    else:
        tifffile.imwrite(path, picture(3, np.uint16), photometric="rgb")
        path.write_bytes(path.read_bytes()[:-300])
    assert "truncated" in refusal(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [(20_000, 20_000), (12_000, 11_000)])
def test_decompression_bomb_is_refused_on_its_header(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png16(picture(3, np.uint16), size=size))
    assert "header claims" in refusal(path)


@pytest.mark.parametrize(("channels", "limit"), [(3, "120 million"), (4, "90 million")])
def test_sixteen_bits_with_transparency_may_have_fewer_pixels(tmp_path, channels, limit):
    """Each takes a third more memory."""
    path = tmp_path / "large.png"
    path.write_bytes(png16(picture(channels, np.uint16), size=(11_000, 11_000)))
    assert f"11000x11000 pixels and the limit is {limit}" in refusal(path)
    path.write_bytes(png16(picture(channels, np.uint16), size=(10_000, 10_000)))
    assert ("limit is" in refusal(path)) == (channels == 4)


def test_pixel_limit_is_the_callers(tmp_path):
    path = saved(tmp_path, picture(3))
    assert "80x66" in refusal(path, max_pixels=80 * 66 - 1)
    assert read_photo(path, max_pixels=80 * 66).pixels.shape == (66, 80, 3)


def test_too_large_a_file(tmp_path):
    path = tmp_path / "huge.tif"
    with path.open("wb") as file:
        file.truncate(2 << 30)  # sparse: takes no room
    assert "too large a file" in refusal(path)


def test_one_pixel(tmp_path):
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(path)
    message = refusal(path)
    assert "1x1" in message and f"{MIN_SIDE}x{MIN_SIDE}" in message


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animation(tmp_path, suffix):
    frames = [Image.fromarray(picture(3)), Image.fromarray(picture(3)[::-1])]
    path = tmp_path / f"moving{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert "animation" in refusal(path)


def test_pages_of_a_tiff_are_no_animation(tmp_path):
    path = tmp_path / "pages.tif"
    frames = [Image.fromarray(picture(3)), Image.fromarray(picture(3)[::-1])]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_photo(path).pixels, picture(3))


def test_first_picture_of_a_phones_mpo(tmp_path):
    path = tmp_path / "phone.jpg"
    flat = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ((200, 100, 50), (0, 0, 0))]
    flat[0].save(path, "MPO", save_all=True, append_images=flat[1:], quality=95)
    photo = read_photo(path)
    assert photo.source.format == "MPO"
    np.testing.assert_allclose(photo.pixels[5, 5].astype(int), [200, 100, 50], atol=3)


@pytest.mark.parametrize(
    ("suffix", "options"), [(".bmp", {}), (".tif", {}), (".webp", {"lossless": True})]
)
def test_other_lossless_formats(tmp_path, suffix, options):
    np.testing.assert_array_equal(
        read_photo(saved(tmp_path, picture(3), suffix, **options)).pixels, picture(3)
    )


def test_separate_colour_planes(tmp_path):
    path = tmp_path / "planes.tif"
    planes = picture(3, np.uint16).transpose(2, 0, 1)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    assert "planes" in refusal(path)


def test_unwritable_output(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_photo(tmp_path / "file" / "out.png", picture(3))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_photo(tmp_path / "folder.png", picture(3))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_output_must_be_called_png(tmp_path):
    with pytest.raises(UserError, match=r"\.png"):
        write_photo(tmp_path / "out.jpg", picture(3))


def test_list_photos(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_photos(tmp_path)] == ["a.png", "b.JPG"]


def test_list_photos_of_nothing(tmp_path):
    with pytest.raises(UserError, match="no pictures"):
        list_photos(tmp_path)
    with pytest.raises(UserError, match="cannot be listed"):
        list_photos(tmp_path / "missing")


def test_every_byte_of_a_header_can_be_wrong(tmp_path):
    """Damaged headers end in a UserError or in pixels, never in another exception."""
    buffer = io.BytesIO()
    Image.fromarray(picture(3)).save(buffer, "JPEG")
    whole = buffer.getvalue()
    path = tmp_path / "damaged.jpg"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, 700, 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_photo(path).pixels.ndim == 3
        except UserError:
            refused += 1
    assert 0 < refused < 150
