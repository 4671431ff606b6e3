"""Readers of photographs and of what lies in them, under the law of `law`."""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.colour_files import gamma, grey_profile, parametric, table
from tests.hostile.law import Reader
from tests.photo_files import chunk, png16

SIDE = 64
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6" '
    b'exif:PixelXDimension="64" xmpNote:HasExtendedXMP="00FF"><xmp:Thumbnails>a</xmp:Thumbnails>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)
_IPTC = b"\x1c\x02\x50\0\4anna\x1c\x02\x78\0\5words"


def pixels(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A smooth picture, whose files are small."""
    x = np.arange(SIDE)[:, None, None] + np.arange(SIDE)[None, :, None] * (1 + np.arange(channels))
    return (x * (np.iinfo(dtype).max // 512)).astype(dtype)


def saved(kind: str, mode: str = "RGB", channels: int = 3, **options) -> bytes:
    """A file as Pillow writes it."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels(channels).squeeze()).convert(mode).save(held, kind, **options)
    return held.getvalue()


@functools.cache
def exif() -> bytes:
    """EXIF data with an orientation, inner lists and a thumbnail."""
    from PIL import Image

    made = Image.Exif()
    made[0x0112], made[0x010F], made[0x9C9B] = 6, "Maker", "title".encode("utf-16-le")
    made.get_ifd(0x8769).update({0xA002: 64, 0xA003: 64, 0xA001: 0xFFFF, 0x9003: "2020:01:01"})
    made.get_ifd(0x8769)[0xA005] = {1: "R03"}
    made.get_ifd(0x8825)[1] = "N"
    made.get_ifd(1).update({0x0201: 300, 0x0202: 40})
    return made.tobytes() + bytes(100)


@functools.cache
def profile() -> bytes:
    """A colour profile of RGB."""
    from diffcam_jax.faces.icc import adobe_rgb

    return adobe_rgb()


def animation(kind: str) -> bytes:
    """Two frames."""
    from PIL import Image

    frames = [Image.fromarray(pixels()), Image.fromarray(255 - pixels())]
    held = io.BytesIO()
    frames[0].save(held, kind, save_all=True, append_images=frames[1:])
    return held.getvalue()


def png_with(*chunks: bytes, of: bytes | None = None) -> bytes:
    """A PNG with further chunks behind its header."""
    data = saved("PNG", "L", 1) if of is None else of
    return data[:33] + b"".join(chunks) + data[33:]


def _pngs() -> list[bytes]:
    text = chunk(b"tEXt", b"Title\0words") + chunk(b"zTXt", b"Author\0\0" + zlib.compress(b"anna"))
    text += chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP)
    raw = f"\nexif\n{len(exif()):8}\n{exif().hex()}\n".encode()
    raw_chunk = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))
    colours = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"cICP", b"\x0c\x0d\0\1")
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile()))
    deep = png16(pixels(3, np.uint16))
    return [
        png_with(text, icc, chunk(b"eXIf", exif()[6:]), of=saved("PNG")),
        png_with(colours, raw_chunk, of=deep),
        png_with(chunk(b"tRNS", struct.pack(">H", 512)), of=png16(pixels(1, np.uint16))),
        saved("PNG", "P", transparency=3),
        saved("PNG", "LA", 1),
        saved("PNG", "1", 1),
        animation("PNG"),
    ]


def _jpegs() -> list[bytes]:
    blocks = b"Photoshop 3.0\08BIM\4\4\0\0" + struct.pack(">I", len(_IPTC)) + _IPTC + b"\0"
    app13 = b"\xff\xed" + struct.pack(">H", len(blocks) + 2) + blocks
    whole = saved("JPEG", exif=exif(), icc_profile=profile(), xmp=_XMP)
    return [
        whole[:2] + app13 + whole[2:],
        saved("JPEG", "L", 1, progressive=True),
        saved("JPEG", "CMYK", dpi=(300, 300)),
        animation("MPO"),
    ]


def _tiffs() -> list[bytes]:
    import tifffile

    def written(array: np.ndarray, **options) -> bytes:
        held = io.BytesIO()
        tifffile.imwrite(held, array, **options)
        return held.getvalue()

    grey = pixels(1)[..., 0]
    deep = pixels(3, np.uint16)
    return [
        written(deep, photometric="rgb", byteorder=">"),
        written(pixels().transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        written(np.dstack([deep, deep[..., :1]]), photometric="rgb", extrasamples=["unassalpha"]),
        written(grey.astype(np.float32) / 255),
        written(grey.astype(np.uint32) * 2**24),
        written(grey.astype(np.int16)),
        written(grey, photometric="miniswhite", rowsperstrip=8),
        written(pixels(), photometric="rgb", tile=(16, 16), bigtiff=True),
        saved("TIFF", exif=exif(), icc_profile=profile()),
        saved("TIFF", compression="tiff_lzw"),
        saved("TIFF", "CMYK"),
        saved("TIFF", "LAB"),
        saved("TIFF", "1", 1, compression="group4"),
        saved("TIFF", "P", compression="packbits"),
        saved("TIFF", "YCbCr", compression="jpeg"),
        saved("TIFF", compression="tiff_adobe_deflate", save_all=True),
    ]


def _heics() -> list[bytes]:
    import pillow_heif

    pillow_heif.options.THUMBNAILS = False
    made = []
    for array, mode, bits in ((pixels(), "RGB", 8), (pixels(3, np.uint16), "RGB;16", 10)):
        held = io.BytesIO()
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
        file = pillow_heif.from_bytes(mode, (SIDE, SIDE), array.tobytes())
        file.save(held, quality=30, exif=exif() if bits == 8 else None, chroma=420)
        made.append(held.getvalue())
    return made


def _webps() -> list[bytes]:
    facts = {"exif": exif(), "icc_profile": profile(), "xmp": _XMP}
    return [
        saved("WEBP", quality=20, **facts),
        saved("WEBP", "RGBA", lossless=True),
        animation("WEBP"),
    ]


def _jp2s() -> list[bytes]:
    import cv2

    _, deep = cv2.imencode(".jp2", pixels(3, np.uint16))
    uuid = struct.pack(">I4s", 24 + len(exif()), b"uuid") + b"JpgTiffExif->JP2" + exif()[6:]
    whole = saved("JPEG2000")
    start = whole.index(b"jp2c") - 4
    uuid = struct.pack(">I", len(uuid)) + uuid[4:]
    return [whole[:start] + uuid + whole[start:], deep.tobytes(), saved("JPEG2000", "L", 1)]


def edit(data: bytes, folder: Path) -> None:
    """A photograph is read, and written again as an edited one is."""
    from diffcam_jax.faces.photo import read_photo, without_metadata, write_photo

    (folder / "photo").write_bytes(data)
    photo = read_photo(folder / "photo", first_frame=True)
    write_photo(folder / "edited.png", photo)
    write_photo(folder / "bare.png", without_metadata(photo))


def _wrapped(wrap: Callable[[bytes], bytes]) -> Callable[[bytes, Path], None]:
    return lambda data, folder: edit(wrap(data), folder)


def _icc_chunk(data: bytes) -> bytes:
    return png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(data, 1)))


def _inks(data: bytes) -> bytes:
    return saved("TIFF", "CMYK", icc_profile=data or b"\0")


def _profiles() -> list[bytes]:
    curves = gamma(2.2), table([0, 900, 65535]), parametric(3, 2.4, 0.9, 0.1, 0.07, 0.04)
    return [profile(), *(grey_profile(c, s) for c in curves for s in (b"XYZ ", b"Lab "))]


def _mask(data: bytes, folder: Path) -> None:
    from diffcam_jax.editor.pasting import check_mask
    from diffcam_jax.faces.photo import as_mask, read_photo

    (folder / "mask").write_bytes(data)
    check_mask(as_mask(read_photo(folder / "mask").pixels), pixels())


def _landmarks(data: bytes, folder: Path) -> None:
    from diffcam_jax.faces.landmark_files import read_landmarks_file

    (folder / "points").write_bytes(data)
    read_landmarks_file(folder / "points")


def _points() -> list[bytes]:
    rows = [[30.5 + i, 40 + i * i] for i in range(5)]
    return [str(rows).encode(), "\n".join(f"{x}, {y} # eye" for x, y in rows).encode()]


PHOTOGRAPHS = {
    "photo_png": Reader(_pngs, edit, "png"),
    "photo_jpeg": Reader(_jpegs, edit, "jpeg"),
    "photo_webp": Reader(_webps, edit, "riff"),
    "photo_gif": Reader(lambda: [saved("GIF", "P"), animation("GIF")], edit),
    "photo_tiff": Reader(_tiffs, edit, "tiff"),
    "photo_bmp": Reader(lambda: [saved("BMP"), saved("BMP", "P"), saved("BMP", "1", 1)], edit),
    "photo_heic": Reader(_heics, edit, "boxes"),
    "photo_avif": Reader(lambda: [saved("AVIF", quality=20, exif=exif())], edit, "boxes"),
    "photo_jpeg2000": Reader(_jp2s, edit, "boxes"),
    "exif": Reader(
        lambda: [exif()[6:]], _wrapped(lambda data: png_with(chunk(b"eXIf", data))), "tiff"
    ),
    "xmp": Reader(
        lambda: [_XMP],
        _wrapped(lambda data: png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + data))),
        "text",
    ),
    "icc": Reader(_profiles, _wrapped(_icc_chunk)),
    "icc_of_inks": Reader(lambda: [profile()], _wrapped(_inks)),
    "mask": Reader(lambda: [saved("PNG", "L", 1), png16(pixels(1, np.uint16))], _mask, "png"),
    "landmarks": Reader(_points, _landmarks, "text"),
}
