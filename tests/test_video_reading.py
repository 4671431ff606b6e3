"""Videos are opened and read; what FFmpeg decodes by itself is the answer."""

import sys
from fractions import Fraction

import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.video.opening import is_clip, open_clip, read_frames
from diffcam_jax.video.planes import Turn
from tests.clip_files import FRAMES, damage, picture, stored, write_video

TIMES = [0, 1000, 1500, 3000, 3100, 4000, 7000, 8000, 8800, 9000, 12000, 12345]


def noisy(number, width, height):
    """So that packets are long, and what is spoilt lies in the middle of one."""
    pixels = np.random.default_rng(number).integers(0, 90, (height, width, 3), np.uint8)
    return pixels + picture(number, width, height) // 2


def test_a_clip_says_what_it_is(tmp_path):
    path = write_video(tmp_path / "a.mp4", sound="aac", color_range=1, colorspace=1, color_trc=1)
    assert is_clip(path)
    clip = open_clip(path)
    assert (clip.kind, clip.width, clip.height, clip.frames) == ("video", 64, 48, FRAMES)
    assert clip.seconds == pytest.approx(0.48)
    assert clip.video.rate == 25
    assert clip.video.sound == ("aac",)
    assert (clip.video.tags.range, clip.video.tags.matrix, clip.video.tags.transfer) == (1, 1, 1)
    assert clip.notes == ()
    frames = list(read_frames(clip))
    assert [frame.number for frame in frames] == list(range(FRAMES))
    assert not any(frame.damaged for frame in frames)
    for frame, (time, planes) in zip(frames, stored(path), strict=True):
        assert frame.time == pytest.approx(float(time))
        for kept, plane in zip(frame.native.planes, planes, strict=True):
            np.testing.assert_array_equal(kept, plane)
        shown = np.abs(frame.pixels.astype(int) - picture(frame.number))
        assert shown.max() <= 25
        assert shown.mean() <= 3


def test_reading_may_start_anywhere(tmp_path):
    clip = open_clip(write_video(tmp_path / "a.mp4", times=TIMES))
    whole, rest = list(read_frames(clip)), list(read_frames(clip, 7))
    assert [frame.time for frame in whole] == [pytest.approx(t / 25000) for t in TIMES]
    assert [frame.number for frame in rest] == list(range(7, FRAMES))
    for a, b in zip(whole[7:], rest, strict=True):
        assert a.time == b.time
        np.testing.assert_array_equal(a.pixels, b.pixels)


@pytest.mark.parametrize(("colorspace", "red"), [(1, 0.2126), (5, 0.299), (9, 0.2627)])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_of_the_tags(tmp_path, colorspace, red, full):
    """A picture that is converted by the wrong matrix or range is several levels off."""
    path = tmp_path / "a.mkv"
    tags = {"colorspace": colorspace, "color_range": 2 if full else 1}
    write_video(path, frames=1, codec="ffv1", layout="yuv444p", **tags)
    clip = open_clip(path)
    assert clip.video.colours.red == red
    assert clip.video.colours.full is full
    plain = next(iter(read_frames(clip)))
    luma = plain.native.planes[0].astype(float)
    shown = plain.pixels @ np.array(
        [red, 1 - red - clip.video.colours.blue, clip.video.colours.blue]
    )
    expected = luma if full else (luma - 16) * 255 / 219
    assert np.abs(shown - expected).max() <= 1


def test_what_says_nothing_has_the_matrix_of_its_size(tmp_path):
    small = open_clip(write_video(tmp_path / "a.mkv", frames=1, codec="ffv1"))
    large = open_clip(write_video(tmp_path / "b.mkv", frames=1, codec="ffv1", size=(32, 720)))
    assert (small.video.colours.red, large.video.colours.red) == (0.299, 0.2126)


def test_ten_bits_are_read_as_sixteen(tmp_path):
    path = write_video(tmp_path / "a.mp4", layout="yuv420p10le")
    frame = next(iter(read_frames(open_clip(path))))
    assert frame.pixels.dtype == np.uint16
    assert np.abs(frame.pixels / 257 - picture(0)).mean() < 3


@pytest.mark.parametrize(
    ("rotation", "turn"),
    [
        ((90, False, False), lambda x: np.rot90(x, 1)),
        ((-90, False, False), lambda x: np.rot90(x, -1)),
        ((180, False, False), lambda x: np.rot90(x, 2)),
        ((0, True, False), lambda x: x[:, ::-1]),
        ((0, False, True), lambda x: x[::-1]),
    ],
)
def test_frames_are_upright(tmp_path, rotation, turn):
    path = write_video(tmp_path / "a.mp4", rotation=rotation, sample_aspect_ratio=Fraction(4, 3))
    clip = open_clip(path)
    frame = next(iter(read_frames(clip)))
    expected = turn(picture(0))
    assert frame.pixels.shape == expected.shape == (clip.height, clip.width, 3)
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 3
    assert clip.video.aspect == (Fraction(3, 4) if rotation[0] in (90, -90) else Fraction(4, 3))


def test_turned_and_mirrored_and_blocks_that_do_not_turn(tmp_path):
    path = write_video(tmp_path / "a.mp4", rotation=(90, True, False), layout="yuv422p")
    clip = open_clip(path)
    assert clip.video.turn == Turn(True, True, True)
    assert clip.video.layout.name == "yuv444p"
    assert "yuv444p" in clip.notes[0]
    _, planes = stored(path)[0]
    made = next(iter(read_frames(clip))).native.planes
    np.testing.assert_array_equal(made[0], planes[0].T[::-1, ::-1])
    np.testing.assert_array_equal(made[1], np.repeat(planes[1], 2, 1).T[::-1, ::-1])


def test_odd_sizes(tmp_path):
    path = write_video(tmp_path / "a.mkv", size=(65, 49), codec="ffv1")
    clip = open_clip(path)
    frame = next(iter(read_frames(clip)))
    assert (clip.width, clip.height) == (65, 49)
    assert np.abs(frame.pixels.astype(int) - picture(0, 65, 49)).mean() < 3


def test_other_containers_and_a_clock_that_is_ahead(tmp_path):
    path = write_video(tmp_path / "a.ts", sound="aac")
    clip = open_clip(path)
    assert clip.video.start > 0
    frames = list(read_frames(clip))
    assert len(frames) == FRAMES
    first, second = (frame.native.pts * clip.video.time_base for frame in frames[:2])
    assert second - first == Fraction(1, 25)
    assert 0 <= first < 0.03  # sound begins before, by what its encoder needs


REFUSED = {
    "only sound": (lambda p: write_sound(p / "a.mp4"), "only sound"),
    "HDR": (
        lambda p: write_video(p / "a.mp4", layout="yuv420p10le", color_trc=16, colorspace=9),
        "HDR .PQ.*tonemap",
    ),
    "HLG": (lambda p: write_video(p / "a.mp4", layout="yuv420p10le", color_trc=18), "HDR .HLG"),
    "interlaced": (
        lambda p: write_video(
            p / "a.mp4", options={"flags": "+ildct+ilme", "x264-params": "tff=1"}
        ),
        "interlaced.*bwdif",
    ),
    "transparency": (
        lambda p: write_video(p / "a.mkv", codec="ffv1", layout="yuva420p"),
        "transparency",
    ),
    "no quarter turn": (
        lambda p: write_video(p / "a.mp4", rotation=(12, False, False)),
        "quarter turns",
    ),
    "too small": (lambda p: write_video(p / "a.mp4", size=(64, 12)), "too small"),
    "no index": (lambda p: cut(write_video(p / "a.mp4"), 0.5), "truncated or damaged"),
    "empty": (lambda p: cut(write_video(p / "a.mp4"), 0), "empty"),
    "text": (lambda p: text(p / "a.mp4"), "not a video"),
    "missing": (lambda p: p / "a.mp4", "check the name"),
    "folder": (lambda p: p, "--frames"),
    "playlist": (lambda p: playlist(p), "not a video"),
}


def write_sound(path):
    import av

    from tests.clip_files import _write_tone

    with av.open(str(path), "w") as out:
        _write_tone(out, out.add_stream("aac", rate=48000, layout="mono"), 0.5)
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def text(path):
    path.write_text("this is no video\n" * 50)
    return path


def playlist(folder):
    """It would have FFmpeg open whatever it names."""
    write_video(folder / "part.ts")
    path = folder / "a.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n")
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_edited_is_refused_in_one_line(name, tmp_path, capfd):
    make, why = REFUSED[name]
    with pytest.raises(UserError, match=why):
        open_clip(make(tmp_path))
    assert capfd.readouterr().err == ""


def test_a_truncated_file_ends_where_it_ends(tmp_path, capfd):
    container = {"movflags": "faststart"}
    path = write_video(tmp_path / "a.mp4", frames=30, draw=noisy, container=container)
    clip = open_clip(cut(path, 0.6))
    told = []
    frames = list(read_frames(clip, damaged=told))
    assert 5 < len(frames) < 30
    assert "truncated" in told[0]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("codec", ["libx264", "ffv1", "mpeg4"])
def test_a_damaged_frame_is_told_and_the_others_are_read(tmp_path, codec, capfd):
    """Those before it, and those of the next group of pictures, are as they were."""
    options = {"g": "4", "bf": "0", "sc_threshold": "0", "slicecrc": "1", "level": "3"}
    path = tmp_path / "a.mkv"
    if codec != "ffv1":
        options = {"g": "4", "bf": "0"}
    write_video(path, codec=codec, draw=noisy, options=options)
    whole = stored(path)
    damage(path, 5, head=200)
    told = []
    frames = list(read_frames(open_clip(path), damaged=told))
    assert len(told) == 1
    assert "0.20 s" in told[0]
    times = [round(frame.time * 25) for frame in frames]
    spoilt = [round(frame.time * 25) for frame in frames if frame.damaged]
    assert spoilt in ([5], [])
    assert sorted({*times, 5}) == list(range(FRAMES))
    for frame in frames:
        number = round(frame.time * 25)
        if number < 5 or number >= 8:
            np.testing.assert_array_equal(frame.native.planes[0], whole[number][1][0])
    assert capfd.readouterr().err == ""


def test_without_the_package_it_is_said_how_to_install_it(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'diffcam_jax\[video\]'"):
        open_clip(path)


def test_photographs_are_no_clips(tmp_path):
    from PIL import Image

    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    Image.fromarray(picture(0)).save(tmp_path / "a.gif")
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "renamed").write_bytes(write_video(tmp_path / "a.mp4").read_bytes())
    found = {path.name: is_clip(path) for path in sorted(tmp_path.iterdir())}
    assert found == {"a.gif": False, "a.jpg": False, "a.mp4": True, "a.png": False, "renamed": True}
    assert is_clip(tmp_path / "missing.mov")
    assert not is_clip(tmp_path)
