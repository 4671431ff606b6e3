"""Results of videos, read back with PyAV itself: samples, times, sound, tags; parts and kills."""

import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.video import joining, writing
from diffcam_jax.video.clip import Tags
from diffcam_jax.video.opening import open_clip, read_frames
from diffcam_jax.video.writing import ClipWriter, result_name
from tests.clip_files import FRAMES, damage, packets, picture, stored, with_text, write_video

TIMES = [0, 1000, 1500, 3000, 3100, 4000, 7000, 8000, 8800, 9000, 12000, 12345]
PART = 5


def noise(number, width, height):
    return np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)


def edit(frame):
    """Pixels that are edited everywhere, of which a rectangle counts."""
    touched = np.zeros(frame.pixels.shape[:2], bool)
    touched[9:30, 15:40] = True
    return frame.pixels // 2, touched


def write(clip, out, work, lossless=False, stop=None, **options):
    """Writes a clip; stops like one that is killed, with `stop` frames written by this process."""
    writer = ClipWriter(clip, out, work, lossless, part=PART, **options)
    for number, frame in enumerate(read_frames(clip, writer.done)):
        if number == stop:
            return writer
        writer.write(frame, *edit(frame))
    assert writer.finish() == out
    assert not work.exists()
    return writer


def result(path, lossless=False):
    clip = open_clip(path)
    out = path.with_name(f"result{result_name(clip, lossless)}")
    write(clip, out, path.with_name("work"), lossless)
    return out


LOSSLESS = {
    "yuv420p": {"layout": "yuv420p"},
    "odd": {"layout": "yuv420p", "size": (65, 49)},
    "yuv422p": {"layout": "yuv422p"},
    "full range": {"layout": "yuvj420p", "codec": "mjpeg", "color_range": 2},
    "ten bits": {"layout": "yuv420p10le"},
    "gray": {"layout": "gray", "color_range": 2},
    "rgb": {"layout": "bgr0"},
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_ffv1_keeps_every_sample_of_which_no_pixel_is_touched(name, tmp_path):
    options = {"codec": "ffv1", **LOSSLESS[name]}
    path = write_video(tmp_path / "a.mkv", **options)
    before, after = stored(path), stored(result(path, lossless=True))
    width, height = options.get("size", (64, 48))
    lanes = 4 if name == "rgb" else 1  # samples of a pixel in a row
    assert [time for time, _ in before] == [time for time, _ in after]
    for (_, old), (_, new) in zip(before, after, strict=True):
        for one, other in zip(old, new, strict=True):
            assert one.shape == other.shape
            down, across = -(-height // one.shape[0]), -(-width // one.shape[1])
            changed = np.argwhere(one != other)
            assert len(changed) > 50 // across // down
            inside = (changed[:, 0] >= 9 // down) & (changed[:, 0] <= 29 // down)
            inside &= changed[:, 1] // lanes >= 15 // across
            inside &= changed[:, 1] // lanes <= 39 // across
            assert inside.all()


def test_h264_shows_the_edit_and_little_else_changes(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=FRAMES)
    before = list(read_frames(open_clip(path)))
    out = result(path)
    after = list(read_frames(open_clip(out)))
    assert out.suffix == ".mp4"
    for old, new in zip(before, after, strict=True):
        expected, touched = edit(old)
        difference = np.abs(
            new.pixels.astype(int) - np.where(touched[..., None], expected, old.pixels)
        )
        assert difference[touched].mean() < 3
        assert difference[~touched].mean() < 1.5


@pytest.mark.parametrize("lossless", [False, True])
def test_times_tags_aspect_and_metadata_are_kept(tmp_path, lossless):
    """But for the place of chroma samples, which FFV1 in MP4 cannot say, and that is told."""
    path = write_video(
        tmp_path / "a.mp4", times=TIMES, sample_aspect_ratio=Fraction(4, 3), color_range=1,
        color_primaries=1, color_trc=1, colorspace=1,
        options={"chroma_sample_location": "topleft"},
        metadata={"title": "a title", "creation_time": "2020-01-02T03:04:05.000000Z"},
    )  # fmt: skip
    out = result(path, lossless)
    times = [time for time, _ in stored(out)]
    assert times == [Fraction(time, 25000) for time in TIMES]
    clip, source = open_clip(out), open_clip(path)
    assert source.video.tags == Tags(1, 1, 1, 1, "topleft")
    assert clip.video.tags == Tags(1, 1, 1, 1, None if lossless else "topleft")
    assert any("topleft" in note for note in writing.notes(source, lossless)) is lossless
    assert clip.video.aspect == Fraction(4, 3)
    with av.open(str(out)) as file:
        found = {key.lower(): value for key, value in file.metadata.items()}
    assert found["title"] == "a title"
    assert found["creation_time"] == "2020-01-02T03:04:05.000000Z"


def test_keys_that_mp4_has_no_field_for_are_kept(tmp_path):
    keys = {"com.apple.quicktime.model": "a telephone"}
    container = {"movflags": "use_metadata_tags"}
    path = write_video(tmp_path / "a.mp4", metadata=keys, container=container)
    with av.open(str(result(path))) as file:
        assert file.metadata["com.apple.quicktime.model"] == "a telephone"


def test_chapters_and_names_of_streams_are_kept(tmp_path):
    path, plain = tmp_path / "a.mkv", write_video(tmp_path / "plain.mkv", sound="aac")
    whole = {"id": 1, "start": 0, "end": 480, "time_base": Fraction(1, 1000)}
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        streams = {s.index: target.add_stream_from_template(s, opaque=True) for s in source.streams}
        streams[1].metadata["language"] = "deu"
        target.set_chapters([{**whole, "metadata": {"title": "all of it"}}])
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    with av.open(str(result(path))) as file:
        (chapter,) = file.chapters()
        assert chapter["metadata"]["title"] == "all of it"
        assert (chapter["end"] - chapter["start"]) * chapter["time_base"] == Fraction(48, 100)
        assert file.streams.audio[0].language == "deu"
        # Chapters of MP4 are a stream of text, which is no picture and no sound.
        assert len(file.streams.video) == len(file.streams.audio) == 1


@pytest.mark.parametrize(
    ("name", "sound", "lossless", "suffix"),
    [
        ("a.mp4", "aac", False, ".mp4"),
        ("a.mp4", "aac", True, ".mp4"),
        ("a.mov", "pcm_s16le", True, ".mp4"),
        ("a.mkv", "libopus", False, ".mp4"),
        ("a.mov", "pcm_s16le", False, ".mkv"),
        ("a.ts", "aac", False, ".mp4"),
    ],
)
def test_packets_of_sound_are_kept(tmp_path, name, sound, lossless, suffix):
    path = write_video(tmp_path / name, sound=sound)
    out = result(path, lossless)
    assert out.suffix == suffix
    before, after = packets(path, "audio"), packets(out, "audio")
    head = 7 if name == "a.ts" else 0  # of each packet in a broadcast
    assert [packet[head:] for packet in before] == after
    pairs = zip(*(_offsets(file) for file in (path, out)), strict=True)
    for a, b in pairs:
        assert a == pytest.approx(b, abs=0.0011 if suffix == ".mkv" else 2e-5)


@pytest.mark.parametrize(
    ("name", "codec", "sound", "suffix", "kept"),
    [
        ("a.mp4", "mov_text", "aac", ".mp4", True),
        ("a.mkv", "subrip", "aac", ".mkv", True),
        ("a.mov", "mov_text", "pcm_s16le", ".mkv", False),
    ],
)
def test_subtitles_are_kept_where_the_container_takes_them(
    tmp_path, name, codec, sound, suffix, kept
):
    plain = write_video(tmp_path / f"plain{Path(name).suffix}", sound=sound)
    path = with_text(plain, tmp_path / name, codec, ["Good day.", "How are you?"])
    out = result(path)
    assert out.suffix == suffix
    told = open_clip(path).notes + joining.notes(open_clip(path).video, False)
    assert any("subtitles of MP4 are left out" in note for note in told) != kept
    assert not any("streams" in note for note in told)
    with av.open(str(out)) as file:
        assert len(file.streams.audio) == 1 and len(file.streams.subtitles) == kept
        if kept:
            assert file.streams.subtitles[0].language == "deu"
    if kept:
        said = b"".join(packets(out, "subtitles"))
        assert b"Good day." in said and b"How are you?" in said


def _offsets(path):
    """When pictures and sound begin, since the first picture."""
    with av.open(str(path)) as file:
        sound = next(p for p in file.demux(audio=0))
        sound = float(sound.pts * sound.time_base)
    start = float(stored(path)[0][0])
    return [float(time) - start for time, _ in stored(path)] + [sound - start]


def test_a_turned_clip_is_written_upright(tmp_path):
    path = write_video(tmp_path / "a.mp4", rotation=(90, False, False))
    expected = [f.pixels for f in read_frames(open_clip(path))]
    out = result(path, lossless=True)
    with av.open(str(out)) as file:
        first = next(file.decode(video=0))
    assert (first.width, first.height, first.rotation) == (48, 64, 0)
    shown = next(iter(read_frames(open_clip(out)))).pixels
    np.testing.assert_array_equal(shown[31:], expected[0][31:])


def test_ten_bits_stay_ten(tmp_path):
    out = result(write_video(tmp_path / "a.mp4", layout="yuv420p10le"))
    with av.open(str(out)) as file:
        assert file.streams.video[0].codec_context.pix_fmt == "yuv420p10le"


def test_odd_sizes_lose_no_pixel_and_it_is_said(tmp_path):
    path = write_video(tmp_path / "a.mkv", size=(65, 49), codec="ffv1")
    assert "even sizes" in writing.notes(open_clip(path), False)[0]
    assert writing.notes(open_clip(path), True) == ()
    before, (_, (luma, _, _)) = stored(path)[-1][1][0], stored(result(path))[-1]
    assert luma.shape == (50, 66)
    assert np.abs(luma[31:49, :65].astype(int) - before[31:]).max() <= 6
    assert np.abs(luma[31:, 65].astype(int) - luma[31:, 64]).max() <= 6


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("stop", [0, 3, 5, 8, 11])
def test_a_killed_run_goes_on_and_makes_the_same_file(tmp_path, lossless, stop):
    """The writer is dropped with what it holds; killed twice, the second time in another part."""
    path = write_video(tmp_path / "a.mp4", frames=23, sound="aac")
    clip = open_clip(path)
    suffix = result_name(clip, lossless)
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    write(clip, whole, tmp_path / "one", lossless)
    first = write(clip, parts, tmp_path / "two", lossless, stop=stop)
    assert first.done == 0
    second = write(clip, parts, tmp_path / "two", lossless, stop=7)
    assert second.done == stop // PART * PART
    third = write(clip, parts, tmp_path / "two", lossless)
    assert third.done == (second.done + 7) // PART * PART
    assert packets(whole) == packets(parts)
    assert whole.read_bytes() == parts.read_bytes()
    assert len(stored(whole)) == 23


def test_parts_of_other_settings_and_clips_are_not_taken_over(tmp_path):
    clip = open_clip(write_video(tmp_path / "a.mp4"))
    other = open_clip(write_video(tmp_path / "b.mp4", draw=lambda n, w, h: picture(n + 1, w, h)))
    out, work = tmp_path / "out.mp4", tmp_path / "work"

    def done(clip, **options):
        return ClipWriter(clip, out, work, part=PART, **options).done

    write(clip, out, work, stop=7, settings="smiling")
    assert done(clip, settings="smiling") == 5
    assert done(clip, settings="young") == 0
    assert done(clip, settings="smiling") == 0  # they are removed
    write(clip, out, work, stop=7)
    assert done(other) == 0
    write(clip, out, work, stop=7)
    moved = tmp_path / "moved.mp4"
    clip.path.rename(moved)
    assert done(open_clip(moved)) == 5


def test_a_kill_while_parts_are_removed_leaves_a_folder_that_can_be_used(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4")
    clip, out, work = open_clip(path), tmp_path / "out.mp4", tmp_path / "work"

    def killed(*_, **__):
        if out.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            write(clip, out, work)
    assert [p.name for p in work.iterdir()] == ["clip.json"]
    first = out.read_bytes()
    write(clip, out, work)
    assert out.read_bytes() == first


def test_a_damaged_frame_is_kept_as_it_is(tmp_path):
    path = tmp_path / "a.mkv"
    write_video(path, codec="ffv1", draw=noise, options={"level": "3", "slicecrc": "1"})
    frames = list(read_frames(open_clip(damage(path, 5, head=30, length=99))))
    spoilt = [frame.number for frame in frames if frame.damaged]
    assert spoilt == [5]
    after = [shown for _, shown in stored(result(path, lossless=True))]
    for plane, kept in zip(after[5], frames[5].native.planes, strict=True):
        np.testing.assert_array_equal(plane, kept)
    assert (after[4][0] != frames[4].native.planes[0]).any()


def test_parts_survive_a_full_disk(tmp_path, capfd):
    """First while frames are written, then while parts are joined."""
    path = write_video(tmp_path / "a.mkv", frames=20, draw=noise, codec="ffv1")
    clip, out, work = open_clip(path), tmp_path / "out.mp4", tmp_path / "work"
    writer = write(clip, out, work, lossless=True, stop=7)
    part = (work / "00000.mkv").stat().st_size
    for limit, done in ((part // 2, 5), (part * 2, 20)):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(UserError, match=r"disk is full.*kept"):
                write(clip, out, work, lossless=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer = ClipWriter(clip, out, work, lossless=True, part=PART)
        assert writer.done == done
        assert not out.exists()
    assert writer.finish() == out
    assert len(stored(out)) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mkv", "out.mp4"]
    assert capfd.readouterr().err == ""


def test_what_a_writer_refuses(tmp_path):
    clip = open_clip(write_video(tmp_path / "a.mp4"))
    with pytest.raises(UserError, match="ends so"):
        ClipWriter(clip, tmp_path / "out.avi", tmp_path / "work")
    with pytest.raises(UserError, match="other files"):
        ClipWriter(clip, tmp_path / "out.mp4", tmp_path)
    writer = ClipWriter(clip, tmp_path / "out.mp4", tmp_path / "work")
    with pytest.raises(UserError, match="no frame"):
        writer.finish()
    frames = list(read_frames(clip))
    with pytest.raises(ValueError, match="in the place of 0"):
        writer.write(frames[1], *edit(frames[1]))
