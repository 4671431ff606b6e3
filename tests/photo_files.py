"""Small pictures as files, written byte by byte where no library writes them."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import read_photo

HEIGHT, WIDTH = 66, 80


def picture(channels: int, dtype=np.uint8) -> np.ndarray:
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, channels), dtype, endpoint=True)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(array: np.ndarray, extra: bytes = b"", size: tuple[int, int] | None = None) -> bytes:
    """A 16-bit PNG by the letter of the PNG specification; `size` lets the header lie."""
    height, width, channels = array.shape
    header = struct.pack(
        ">IIBBBBB", *(size or (width, height)), 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0
    )
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    ends = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + ends


def saved(tmp_path, array: np.ndarray, suffix: str = ".png", mode: str | None = None, **options):
    path = tmp_path / f"picture{suffix}"
    image = Image.fromarray(array.squeeze())
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def refusal(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_photo(path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and ";" in message
    return message
