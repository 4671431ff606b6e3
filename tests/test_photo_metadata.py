"""Date, place, author and rights of a photograph stay with its result, or are left out if asked."""

import io
import re
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, IptcImagePlugin

from diffcam_jax.faces import exif as exif_data
from diffcam_jax.faces import metadata, png
from diffcam_jax.faces.photo import read_photo, without_metadata, write_photo
from tests.photo_files import HEIGHT, WIDTH, chunk, picture, png16, saved

DATE, RIGHTS, CAMERA = "2021:05:04 03:02:01", "(c) Someone", "Camera 5"
ORIENTATION = 0x0112


def some_exif(orientation: int = 1, endian: str = "<") -> Image.Exif:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x0110], exif[ORIENTATION], exif[0x8298] = CAMERA, orientation, RIGHTS
    exif[0x8769] = {0x9003: DATE, 0xA002: 4000, 0xA003: 3000, 0x927C: b"maker's note" * 4}
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
    return exif


def result_of(path, strip: bool = False) -> Image.Image:
    photo = read_photo(path)
    out = path.with_name("result.png")
    write_photo(out, without_metadata(photo) if strip else photo)
    with Image.open(out) as image:
        image.load()
        return image


XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"
 exif:PixelXDimension = '4000' xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF">
<tiff:ImageWidth>4000</tiff:ImageWidth><exif:PixelYDimension>3000</exif:PixelYDimension>
<xmp:Thumbnails><rdf:Alt>AAAA</rdf:Alt></xmp:Thumbnails>
<dc:rights>\xc2\xa9 Someone</dc:rights></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


# ---------------------------------------------------------------- EXIF


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".jfif"])
def test_exif_data_are_kept_and_corrected(tmp_path, suffix, endian):
    turned = suffix != ".avif"  # Pillow writes AVIF with an orientation of its own
    exif = some_exif(6 if turned else 1, endian).tobytes()
    result = result_of(saved(tmp_path, picture(3), suffix, exif=exif))
    assert result.size == ((HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT))
    found = result.getexif()
    assert found.get(ORIENTATION, 1) == 1
    assert found[0x0110] == CAMERA and found[0x8298] == RIGHTS
    inner = found.get_ifd(0x8769)
    assert inner[0x9003] == DATE and (inner[0xA002], inner[0xA003]) == result.size
    assert inner[0x927C] == b"maker's note" * 4
    assert found.get_ifd(0x8825)[2] == (52, 31, 12)
    again = read_photo(tmp_path / "result.png")
    assert again.source.metadata == read_photo(tmp_path / f"picture{suffix}").source.metadata


def test_exif_data_of_a_16_bit_png(tmp_path):
    path = tmp_path / "deep.png"
    body = some_exif(8).tobytes().removeprefix(b"Exif\0\0")
    path.write_bytes(png16(picture(3, np.uint16), chunk(b"eXIf", body)))
    result = result_of(path)
    assert result.getexif()[ORIENTATION] == 1 and result.getexif()[0x8298] == RIGHTS
    assert result.size == (HEIGHT, WIDTH)


def test_exif_data_behind_the_pixels_and_as_a_raw_profile(tmp_path):
    """Where the PNG specification and ImageMagick also put them."""
    exif = some_exif(3).tobytes()
    plain = png16(picture(3, np.uint16))
    behind = plain[:-12] + chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) + plain[-12:]
    stored = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    body = b"Raw profile type exif\0\0" + zlib.compress(stored)
    raw = plain[:33] + chunk(b"zTXt", body) + plain[33:]
    for data in (behind, raw):
        (tmp_path / "photo.png").write_bytes(data)
        photo = read_photo(tmp_path / "photo.png")
        np.testing.assert_array_equal(photo.pixels, picture(3, np.uint16)[::-1, ::-1])
        result = result_of(tmp_path / "photo.png")
        assert result.getexif()[ORIENTATION] == 1 and result.getexif()[0x8298] == RIGHTS
        assert not photo.source.metadata.texts


def test_metadata_of_heic(tmp_path):
    path = tmp_path / "phone.heic"
    made = pillow_heif.from_pillow(Image.fromarray(picture(3)))
    made.save(path, quality=-1, exif=some_exif(6).tobytes(), xmp=XMP)
    result = result_of(path)
    found = result.getexif()
    assert result.size == (HEIGHT, WIDTH) and found.get(ORIENTATION, 1) == 1
    assert found[0x8298] == RIGHTS and found.get_ifd(0x8769)[0xA002] == HEIGHT
    assert "© Someone".encode() in result.info["xmp"]
    assert b'tiff:Orientation="6"' not in result.info["xmp"]


def test_metadata_of_jpeg_2000(tmp_path):
    """As boxes with these identifiers (ExifTool's table of them)."""
    path = saved(tmp_path, picture(3), ".jp2")
    boxes = {
        b"JpgTiffExif->JP2": some_exif(6).tobytes().removeprefix(b"Exif\0\0"),
        bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): XMP,
        bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): RECORDS,
    }
    with path.open("ab") as file:
        for name, body in boxes.items():
            file.write(struct.pack(">I4s", 24 + len(body), b"uuid") + name + body)
    result = result_of(path)
    assert result.size == (HEIGHT, WIDTH) and result.getexif()[0x8298] == RIGHTS
    assert "© Someone".encode() in result.info["xmp"]
    assert records_in(result)[(2, 80)] == b"Someone"


def with_thumbnail(order: str, behind: bytes = b"") -> bytes:
    """EXIF data of one entry and a thumbnail, written byte by byte."""
    picture_of_before = b"\xff\xd8 the old face \xff\xd9"
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    first = struct.pack(order + "HHHIHxxI", 1, ORIENTATION, 3, 1, 6, 26)
    entries = [(0x0201, 4, 1, 56), (0x0202, 4, 1, len(picture_of_before))]
    second = struct.pack(order + "H", 2)
    second += b"".join(struct.pack(order + "HHII", *entry) for entry in entries) + bytes(4)
    return head + first + second + picture_of_before + behind


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("behind", [b"", b"more"])
def test_the_thumbnail_shows_the_face_of_before(order, behind):
    before = with_thumbnail(order, behind)
    old = Image.Exif()
    old.load(before)
    assert old.get_ifd(0x014A + 0) == {} and b"old face" in before
    after = exif_data.corrected(before, 30, 20)
    found = Image.Exif()
    found.load(after)
    assert b"old face" not in after and after.endswith(behind)
    assert found[ORIENTATION] == 1
    assert struct.unpack_from(order + "I", after, 22) == (0,)  # no second list


@pytest.mark.parametrize("seed", range(4))
def test_any_exif_data_are_corrected_or_left_out(seed):
    rng = np.random.default_rng(seed)
    for whole in (with_thumbnail("<"), some_exif(6).tobytes(), some_exif(6, ">").tobytes()):
        for _ in range(200):
            damaged = bytearray(whole[: rng.integers(len(whole) + 1)])
            for place in rng.integers(0, max(len(damaged), 1), 3) if damaged else ():
                damaged[place] = rng.choice([0, 1, 4, 8, 26, 255, rng.integers(256)])
            after = exif_data.corrected(bytes(damaged), 30, 20)
            assert len(after) <= len(whole)
            exif_data.is_adobe_rgb(bytes(damaged))
            assert exif_data.corrected(after, 30, 20)[:8] == after[:8]


# ---------------------------------------------------------------- XMP


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".png"])
def test_xmp_data_are_kept_and_corrected(tmp_path, suffix):
    if suffix == ".png":
        path = tmp_path / "picture.png"
        body = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)
        path.write_bytes(png16(picture(3, np.uint16), chunk(b"iTXt", body)))
    elif suffix == ".tif":
        path = tmp_path / "picture.tif"
        tifffile.imwrite(
            path, picture(3), photometric="rgb", extratags=[(700, 1, len(XMP), XMP, True)]
        )
    else:
        path = saved(tmp_path, picture(3), suffix, xmp=XMP)
    result = result_of(path)
    found = result.info["xmp"]
    assert result.text["XML:com.adobe.xmp"].encode() == found  # as a standard text of PNG
    width, height = result.size
    assert width == HEIGHT and b"Thumbnails" not in found
    assert b'tiff:Orientation="1"' in found or b"tiff:Orientation" not in found  # of TIFF
    assert b"<tiff:ImageWidth>%d<" % width in found
    assert b"exif:PixelXDimension = '%d'" % width in found
    assert b"<exif:PixelYDimension>%d<" % height in found
    assert b"HasExtendedXMP" not in found and "© Someone".encode() in found


@pytest.mark.parametrize("xmp", [b"\xff\xfe<\0x\0", b"<x>\xff</x>", b"<x>\0</x>"])
def test_xmp_data_that_are_no_text_are_left_out(xmp):
    assert metadata.corrected_xmp(xmp, 1, 1) == b""


def test_hostile_xmp_data_take_no_time():
    for part in (b"<xmp:Thumbnails>", b"tiff:Orientation = ", b"<tiff:Orientation>", b"xmpNote:"):
        hostile = part * 100_000
        assert len(metadata.corrected_xmp(hostile, 1, 1)) <= len(hostile)


# ---------------------------------------------------------------- IPTC


def iptc(**texts: str) -> bytes:
    """Records of the application (IIM 4.2): a byline, a copyright notice, a date."""
    numbers = {"byline": 80, "rights": 116, "date": 55}
    return b"".join(
        struct.pack(">BBBH", 0x1C, 2, numbers[name], len(text)) + text.encode()
        for name, text in texts.items()
    )


RECORDS = iptc(byline="Someone", rights=RIGHTS, date="20210504")


def resources(records: bytes) -> bytes:
    """Photoshop's resources: something else, and the records."""
    other = b"8BIM" + struct.pack(">H", 0x040A) + b"\0\0" + struct.pack(">I", 1) + b"\1\0"
    pad = bytes(len(records) % 2)
    head = b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", len(records))
    return other + head + records + pad


def records_in(result: Image.Image) -> dict:
    """What Pillow reads out of the records of a result, as of those of a JPEG."""
    lines = result.text["Raw profile type iptc"].split("\n")
    assert lines[:2] == ["", "iptc"] and max(map(len, lines)) <= 72
    block = bytes.fromhex("".join(lines[3:]))
    assert int(lines[2]) == len(block)
    head = b"Photoshop 3.0\0" + block
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    segment = b"\xff\xed" + struct.pack(">H", len(head) + 2) + head
    data = buffer.getvalue()
    with Image.open(io.BytesIO(data[:2] + segment + data[2:])) as image:
        return IptcImagePlugin.getiptcinfo(image)


@pytest.mark.parametrize("kind", ["jpeg", "tiff bytes", "tiff numbers", "tiff resources", "png"])
def test_iptc_records_are_kept(tmp_path, kind):
    padded = RECORDS + bytes(-len(RECORDS) % 4)
    if kind == "jpeg":
        data = saved(tmp_path, picture(3), ".jpg").read_bytes()
        body = b"Photoshop 3.0\0" + resources(RECORDS)
        path = tmp_path / "photo.jpg"
        path.write_bytes(
            data[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + data[2:]
        )
    elif kind == "png":
        block = resources(RECORDS)
        text = f"\niptc\n{len(block):8}\n{block.hex()}\n".encode()
        path = tmp_path / "photo.png"
        body = b"Raw profile type iptc\0\0" + zlib.compress(text)
        plain = saved(tmp_path, picture(3)).read_bytes()
        path.write_bytes(plain[:33] + chunk(b"zTXt", body) + plain[33:])
        records = without_metadata(read_photo(path)).source.metadata
        assert records == metadata.Metadata()
        assert read_photo(path).source.metadata.texts == ((b"zTXt", body),)
        return
    else:
        block = resources(RECORDS)
        tags = {
            "tiff bytes": (33723, 7, len(RECORDS), RECORDS, True),
            "tiff numbers": (33723, 4, len(padded) // 4, padded, True),
            "tiff resources": (34377, 7, len(block), block, True),
        }
        path = tmp_path / "photo.tif"
        tifffile.imwrite(path, picture(3), photometric="rgb", extratags=[tags[kind]])
    found = records_in(result_of(path))
    assert found[(2, 80)] == b"Someone" and found[(2, 116)] == RIGHTS.encode()
    assert found[(2, 55)] == b"20210504"


def test_damaged_resources_are_left_out():
    whole = resources(RECORDS)
    for length in range(len(whole)):
        assert len(metadata._resource(whole[:length], 0x0404)) <= len(RECORDS)


# ---------------------------------------------------------------- strip


def test_strip_leaves_colours_and_nothing_else(tmp_path):
    exif = some_exif(6)
    exif[0x8769] = {**exif.get_ifd(0x8769)} if not exif[0x8769] else {0xA001: 2, 0x9003: DATE}
    path = saved(tmp_path, picture(3), ".jpg", exif=exif.tobytes(), xmp=XMP, dpi=(300, 300))
    result = result_of(path, strip=True)
    assert not result.getexif() and not result.text and "xmp" not in result.info
    assert result.info["icc_profile"] and result.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    written = (tmp_path / "result.png").read_bytes()
    assert {kind for kind, _ in png.chunks(written)} == {b"IHDR", b"iCCP", b"pHYs", b"IEND"}
    assert not re.search(rb"2021|Someone|Camera", written)


def test_metadata_do_not_change_pixels_and_equal_files_give_equal_results(tmp_path):
    path = saved(tmp_path, picture(3), exif=some_exif().tobytes())
    result_of(path)
    first = (tmp_path / "result.png").read_bytes()
    result_of(path)
    assert (tmp_path / "result.png").read_bytes() == first
    np.testing.assert_array_equal(read_photo(tmp_path / "result.png").pixels, picture(3))
