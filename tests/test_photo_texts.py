"""Texts of PNG files, and the limits of what a photograph may say about itself."""

import struct
import zlib

import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.faces import metadata
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.programs import photographs
from tests.photo_files import chunk, picture, saved
from tests.test_photo_metadata import RIGHTS, XMP, result_of, some_exif


def with_chunks(tmp_path, *chunks: bytes):
    plain = saved(tmp_path, picture(3)).read_bytes()
    path = tmp_path / "photo.png"
    path.write_bytes(plain[:33] + b"".join(chunks) + plain[33:])
    return path


def test_texts_of_a_png_are_kept(tmp_path):
    path = with_chunks(
        tmp_path,
        chunk(b"tEXt", b"Copyright\0" + RIGHTS.encode()),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"long " * 100)),
        chunk(b"iTXt", b"Author\0\0\0de\0Autor\0" + "Jemand ©".encode()),
    )
    texts = result_of(path).text
    assert texts["Copyright"] == RIGHTS and texts["Comment"] == "long " * 100
    assert texts["Author"] == "Jemand ©" and texts["Author"].lang == "de"


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "many", "damaged", "huge"])
def test_bombs_and_floods_of_text_are_left_out(tmp_path, kind):
    """Pillow itself refuses a PNG with a text of more than 1 MiB."""
    bomb = zlib.compress(bytes(metadata.MAX_BYTES + 1))
    bodies = {
        "zTXt": [(b"zTXt", b"a\0\0" + bomb)],
        "iTXt": [(b"iTXt", b"a\0\1\0\0\0" + bomb)],
        "many": [(b"zTXt", b"a\0\0" + bomb)] * 50,
        "damaged": [(b"zTXt", b"a\0\0no zlib"), (b"iTXt", b"a\0"), (b"tEXt", b"no end")],
        "huge": [(b"tEXt", b"a\0" + bytes(metadata.MAX_BYTES + 1))],
    }
    path = with_chunks(tmp_path, *(chunk(*one) for one in bodies[kind]))
    photo = read_photo(path)
    assert "left out" in photo.source.notes[0] and not photo.source.metadata.texts
    np.testing.assert_array_equal(photo.pixels, picture(3))


def test_what_is_left_out_is_told(tmp_path, capsys):
    path = with_chunks(tmp_path, chunk(b"zTXt", b"a\0\0no zlib"))
    photographs.tell_notes(path, read_photo(path))
    told = capsys.readouterr().err
    assert told.startswith(f"note: {path}: texts are left out") and told.count("\n") == 1


def test_large_texts_within_the_limit_are_kept(tmp_path):
    path = with_chunks(tmp_path, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 << 20))))
    photo = read_photo(path)
    assert len(photo.source.metadata.texts) == 1 and not photo.source.notes


def test_too_many_metadata_are_left_out_with_a_note(tmp_path):
    exif = some_exif().tobytes().removeprefix(b"Exif\0\0")
    path = with_chunks(tmp_path, chunk(b"eXIf", exif + bytes(metadata.MAX_BYTES)))
    photo = read_photo(path)
    assert photo.source.metadata.exif == b"" and "EXIF data" in photo.source.notes[0]


def test_damaged_exif_data_do_not_damage_the_pixels(tmp_path):
    for body in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"nothing", bytes(range(256))):
        photo = read_photo(with_chunks(tmp_path, chunk(b"eXIf", body)))
        np.testing.assert_array_equal(photo.pixels, picture(3))
        assert photo.source.metadata.exif == b""


def test_every_byte_of_a_png_can_be_wrong(tmp_path):
    """Damaged files end in a UserError or in pixels, never in another exception."""
    path = with_chunks(
        tmp_path,
        chunk(b"eXIf", some_exif(6).tobytes().removeprefix(b"Exif\0\0")),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"long " * 100)),
        chunk(b"gAMA", struct.pack(">I", 45455)),
    )
    whole, rng, read = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(8, 1400, 2):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_photo(path)
            read += 1
        except UserError:
            pass
    assert 0 < read < 150
