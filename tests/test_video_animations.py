"""Animations and folders of frames, in and out; Pillow by itself is the answer."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.video.opening import is_clip, open_clip, read_frames
from diffcam_jax.video.palettes import indexed
from diffcam_jax.video.writing import ClipWriter, result_name
from tests.clip_files import picture
from tests.photo_files import png16

DURATIONS = [40, 100, 30, 70, 200, 50]
SHAPE = (48, 64)
TOUCHED = np.zeros(SHAPE, bool)
TOUCHED[12:40, 10:50] = True


def drawn(number, clear=False):
    """A picture of few colours, with something that moves: uint8 [h, w, 4]."""
    pixels = np.full((*SHAPE, 4), 255, np.uint8)
    pixels[..., 0] = np.arange(64) // 8 * 30
    pixels[..., 1] = (np.arange(48) // 8 * 40)[:, None]
    pixels[..., 2] = 90
    pixels[10:20, number * 4 : number * 4 + 8, 2] = 200
    if clear:
        pixels[:5] = 0
    return pixels


def animated(path, clear=False, loop=3, durations=DURATIONS):
    frames = [Image.fromarray(drawn(i, clear)) for i in range(len(durations))]
    if not clear:
        frames = [frame.convert("RGB") for frame in frames]
    told = {"lossless": True} if path.suffix == ".webp" else {}
    if path.suffix == ".gif" and clear:
        told = {"disposal": 2}
    told |= {} if loop is None else {"loop": loop}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **told)
    return path


def shown(path):
    """Composed RGBA frames, milliseconds, and how often it is shown."""
    with Image.open(path) as image:
        frames, lasts = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.array(frame.convert("RGBA")))
            lasts.append(frame.info.get("duration"))
        return frames, lasts, image.info.get("loop")


def write(path, edit, stop=None):
    clip = open_clip(path, as_frames=path.is_dir())
    out = path.with_name(f"result{result_name(clip, False)}")
    writer = ClipWriter(clip, out, path.with_name("work"))
    for frame in read_frames(clip, writer.done):
        if frame.number == stop:
            return writer
        writer.write(frame, edit(frame), TOUCHED)
    assert writer.finish() == out
    assert not path.with_name("work").exists()
    return writer


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize(("name", "suffix"), [("gif", ".gif"), ("webp", ".webp"), ("png", ".webp")])
def test_untouched_pixels_durations_and_loop_are_kept(tmp_path, name, suffix, clear):
    """Killed after three frames, and gone on with."""
    path = animated(tmp_path / f"a.{name}", clear)
    assert is_clip(path)
    before, lasts, _ = shown(path)
    assert [f.time for f in read_frames(open_clip(path))] == [
        pytest.approx(sum(DURATIONS[:i]) / 1000) for i in range(6)
    ]
    write(path, lambda frame: 255 - frame.pixels, stop=3)
    assert write(path, lambda frame: 255 - frame.pixels).done == 3
    after, made, loop = shown(tmp_path / f"result{suffix}")
    assert made == lasts == DURATIONS
    assert loop == 3
    for old, new in zip(before, after, strict=True):
        expected = old.copy()
        expected[..., :3][TOUCHED] = 255 - old[..., :3][TOUCHED]
        np.testing.assert_array_equal(new[..., 3], old[..., 3])
        seen = old[..., 3] > 0
        np.testing.assert_array_equal(new[seen], expected[seen])


@pytest.mark.parametrize("loop", [None, 0])
def test_gif_is_shown_as_often_as_before(tmp_path, loop):
    path = animated(tmp_path / "a.gif", loop=loop, durations=[0, 20, 0])
    write(path, lambda frame: frame.pixels)
    _, lasts, shown_again = shown(tmp_path / "result.gif")
    assert shown_again == loop
    assert [last or 0 for last in lasts] == [0, 20, 0]


def test_gif_frames_of_too_many_colours_keep_those_that_are_not_touched(tmp_path):
    rng = np.random.default_rng(0)
    path = animated(tmp_path / "a.gif")
    before, _, _ = shown(path)
    smooth = picture(0)
    write(path, lambda frame: (smooth + rng.integers(0, 9, smooth.shape)).astype(np.uint8))
    after, _, _ = shown(tmp_path / "result.gif")
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new[~TOUCHED], old[~TOUCHED])
        error = new[TOUCHED][:, :3].astype(int) - (smooth[TOUCHED] + 4)
        assert np.abs(error).mean() < 6
        assert np.abs(error.mean(0)).max() < 3


def test_palettes_never_exceed_256_colours():
    rng = np.random.default_rng(1)
    for colours in (2, 200, 256, 2000):
        table = rng.integers(0, 256, (colours, 3), np.uint8)
        pixels = np.full((*SHAPE, 4), 255, np.uint8)
        pixels[..., :3] = table[rng.integers(0, colours, SHAPE)]
        pixels[0, :9, 3] = 0
        made = indexed(pixels, TOUCHED)
        assert made.mode == "P"
        assert len(made.getcolors()) <= 256
        assert made.info["transparency"] == made.getpixel((0, 0))
        back = np.asarray(made.convert("RGBA"))
        assert ((back[..., 3] == 0) == (pixels[..., 3] == 0)).all()
        if colours == 200:
            assert (back[1:] == pixels[1:]).all()


def test_truncated_animations_end_where_they_end(tmp_path):
    for name in ("gif", "png"):
        path = animated(tmp_path / f"a.{name}")
        path.write_bytes(path.read_bytes()[:-150])
        told = []
        try:
            frames = list(read_frames(open_clip(path), damaged=told))
        except UserError as refused:
            assert "damaged" in str(refused)
        else:
            assert 0 < len(frames) <= 6
            assert told


def test_animations_that_are_refused(tmp_path):
    still = tmp_path / "still.gif"
    Image.fromarray(drawn(0)).save(still)
    with pytest.raises(UserError, match="not an animation"):
        open_clip(still)
    small = tmp_path / "small.webp"
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(small, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="too small"):
        open_clip(small)
    nothing = tmp_path / "nothing.gif"
    nothing.write_bytes(b"GIF89a" + bytes(40))
    with pytest.raises(UserError, match="nothing"):
        open_clip(nothing)


def test_folders_of_frames_keep_bits_alpha_and_untouched_pixels(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (*SHAPE, 4), np.uint16)
    for number in (1, 2, 9, 10):
        (folder / f"frame{number}.png").write_bytes(png16(deep + number))
    with pytest.raises(UserError, match="--frames"):
        open_clip(folder)
    clip = open_clip(folder, as_frames=True)
    assert [path.stem for path in clip.files] == ["frame1", "frame2", "frame9", "frame10"]
    assert (clip.kind, clip.frames, clip.width, clip.height) == ("folder", 4, 64, 48)
    assert "25" in clip.notes[0]
    write(folder, lambda frame: frame.pixels // 2, stop=2)
    assert write(folder, lambda frame: frame.pixels // 2).done == 2
    for number in (1, 2, 9, 10):
        made = read_photo(tmp_path / "result" / f"frame{number}.png")
        before = deep + number
        expected = np.where(TOUCHED[..., None], before[..., :3] // 2, before[..., :3])
        np.testing.assert_array_equal(made.pixels, expected)
        np.testing.assert_array_equal(made.alpha, before[..., 3])


def test_a_damaged_frame_of_a_folder_is_kept(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    spoilt = (folder / "1.png").read_bytes()
    spoilt = spoilt[: len(spoilt) // 2]
    (folder / "1.png").write_bytes(spoilt)
    told = []
    clip = open_clip(folder, as_frames=True)
    assert [f.damaged is None for f in read_frames(clip, damaged=told)] == [True, False, True]
    assert len(told) == 1
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "other.txt").write_text("of somebody else")
    write(folder, lambda frame: frame.pixels // 2)
    assert (tmp_path / "result" / "1.png").read_bytes() == spoilt
    assert sorted(p.name for p in (tmp_path / "result").iterdir()) == [
        "0.png", "1.png", "2.png", "other.txt",
    ]  # fmt: skip


def test_folders_that_are_refused(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    with pytest.raises(UserError, match="no pictures"):
        open_clip(folder, as_frames=True)
    (folder / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of its frames"):
        open_clip(folder, as_frames=True)
    Image.fromarray(picture(0)).save(folder / "a.png")
    Image.fromarray(picture(0, 80, 60)).save(folder / "b.png")
    with pytest.raises(UserError, match=r"80x60.*one size"):
        list(read_frames(open_clip(folder, as_frames=True)))
    Image.fromarray(picture(0)).save(folder / "b.jpg")
    with pytest.raises(UserError, match="rename one"):
        open_clip(folder, as_frames=True)
    with pytest.raises(UserError, match="leave out"):
        open_clip(folder / "a.png", as_frames=True)
