"""Clips through small networks: what may change does, frame by frame, also after a kill."""

import json

import numpy as np
import pytest

from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.files import domain
from diffcam_jax.files.domain import Domain
from diffcam_jax.files.locks import held
from diffcam_jax.programs import edit
from diffcam_jax.video import clip_edit
from diffcam_jax.video.clip_edit import ClipRequest, edit_clip
from diffcam_jax.video.curves import Curve
from diffcam_jax.video.look import look
from diffcam_jax.video.opening import open_clip, read_frames
from tests import clip_files, small_editor

SQUARE = Domain("squares", 128, "square", padding=(0.25, 0.25, 0.0, 0.125), licence="mine")
FRAMES, SIZE = 14, (96, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("squares")
    small_editor.flags(root)
    places = {role: role for role in ("generator", "encoder", "classifier")}
    domain.write(root, SQUARE, places, "directions.safetensors")
    return root


@pytest.fixture(scope="module")
def editor(folder):
    return Editor.from_pretrained(folder, config=VARIANTS["product"])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return clip_files.write_video(path, FRAMES, SIZE, sound="aac")


def request(values=(0.0, 2.0), times=(0.2, 0.4), **choices):
    curves = {"smiling": Curve(times, values)}
    return ClipRequest(curves, VARIANTS["product"], tune=1, raw=True, lossless=True, **choices)


def run(editor, clip, place, asked=None):
    place.mkdir(exist_ok=True)
    opened = open_clip(clip)
    return edit_clip(editor, opened, asked or request(), place / "clip.mp4", place / "work")


@pytest.fixture(scope="module")
def undisturbed(editor, clip, tmp_path_factory):
    place = tmp_path_factory.mktemp("undisturbed")
    return place, run(editor, clip, place)


def test_frames_change_as_the_curve_says_and_nowhere_else(undisturbed, clip):
    place, report = undisturbed
    assert report["frames"] == FRAMES and report["scenes"] == 1 and not report["damaged"]
    pairs = zip(clip_files.stored(clip), clip_files.stored(place / "clip.mp4"), strict=True)
    changed = []
    for (_, before), (_, after) in pairs:
        luma = before[0] != after[0]
        changed.append(luma.any())
        # The square is rows 0 to 64, columns 16 to 80: a quarter above and below is padding.
        outside = np.ones(luma.shape, bool)
        outside[16:48, 16:72] = False
        assert not luma[outside].any()
    assert not any(changed[:6])  # 25 frames a second: nothing before 0.2 s, two frames of mask
    assert all(changed[9:])


def test_frames_of_whole_pictures_stand_still(editor, clip):
    kind = Domain("wide", 128, "whole", padding=(1 / 6, 1 / 6, 0.0, 0.0))
    other = Editor(editor.networks, editor.directions, editor.config, domain=kind)
    (track,) = look(open_clip(clip), other, False, False).tracks
    corners = [[0, -16], [0, 80], [96, 80], [96, -16]]  # of 96 x 64 pixels, and bars of 16
    np.testing.assert_allclose(track.quads, np.broadcast_to(corners, (FRAMES, 4, 2)))


def test_sound_and_times_are_those_of_the_clip(undisturbed, clip):
    result = undisturbed[0] / "clip.mp4"
    assert clip_files.packets(result, "audio") == clip_files.packets(clip, "audio")
    times = [[frame.time for frame in read_frames(open_clip(path))] for path in (clip, result)]
    np.testing.assert_allclose(*times, atol=1e-3)


def test_a_run_that_is_stopped_twice_goes_on_and_ends_in_the_same_bytes(
    editor, clip, undisturbed, tmp_path, monkeypatch
):
    class Stopped(Exception):
        pass

    monkeypatch.setattr(clip_edit, "ClipWriter", _with_parts_of_four(clip_edit.ClipWriter))
    for stage, last in (("find faces", 5), ("edit", 9)):

        def stop(told, done, steps, stage=stage, last=last):
            if (told, done) == (stage, last):
                raise Stopped

        with pytest.raises(Stopped):
            place = tmp_path / "clip.mp4"
            edit_clip(editor, open_clip(clip), request(), place, tmp_path / "work", stop)
        assert not place.exists()
    report = run(editor, clip, tmp_path)
    assert report["frames"] == FRAMES and report["edited_now"] == FRAMES - 8
    frames = [clip_files.stored(path / "clip.mp4") for path in (tmp_path, undisturbed[0])]
    for (_, one), (_, other) in zip(*frames, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not (tmp_path / "work").exists()


def _with_parts_of_four(writer):
    return lambda *given: writer(*given, part=4)


def test_another_request_takes_nothing_over(editor, clip, tmp_path):
    work = tmp_path / "work"

    def stop(told, done, steps):
        if told == "edit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_clip(editor, open_clip(clip), request(), tmp_path / "clip.mp4", work, stop)
    kept = (work / "looked.safetensors").stat().st_mtime_ns
    other = request(values=(0.0, 1.5))
    with pytest.raises(KeyboardInterrupt):
        edit_clip(editor, open_clip(clip), other, tmp_path / "clip.mp4", work, stop)
    assert (work / "looked.safetensors").stat().st_mtime_ns != kept


def test_one_process_at_a_time_and_no_folder_of_others(editor, clip, tmp_path):
    work = tmp_path / "work"
    with held(work / ".lock"), pytest.raises(UserError, match="is being edited"):
        run(editor, clip, tmp_path)
    (work / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no unfinished clip"):
        run(editor, clip, tmp_path)
    assert (work / "mine.txt").read_text() == "mine"


def test_a_damaged_frame_is_kept_and_told(editor, tmp_path):
    options = {"g": "1", "slicecrc": "1", "level": "3"}
    broken = clip_files.write_video(
        tmp_path / "broken.mkv", FRAMES, SIZE, codec="ffv1", options=options
    )
    clip_files.damage(broken, 7, head=100, length=40)
    report = run(editor, broken, tmp_path / "out", request(values=(2.0,), times=(0.0,)))
    assert len(report["damaged"]) == 1 and "7" in report["damaged"][0]
    pairs = zip(clip_files.stored(broken), clip_files.stored(tmp_path / "out" / "clip.mp4"))
    changed = [any((a != b).any() for a, b in zip(x, y)) for (_, x), (_, y) in pairs]
    assert changed == [i != 7 for i in range(FRAMES)]


def test_a_folder_of_frames_and_an_animation_by_the_command(folder, clip, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    from PIL import Image

    pictures = [Image.fromarray(frame.pixels) for frame in read_frames(open_clip(clip))][:5]
    for i, picture in enumerate(pictures):
        picture.save(frames / f"{i}.png")
    pictures[0].save(
        tmp_path / "moves.webp", save_all=True, append_images=pictures[1:], lossless=True,
        duration=[40, 80, 40, 120, 40],
    )  # fmt: skip
    flags = ["--domain", str(folder), "--attribute", "smiling=2", "--raw-strength", "--tune", "0"]
    out = ["--out", str(tmp_path / "out")]
    assert edit.main([str(frames), "--frames", *flags, *out]) == 0
    assert edit.main([str(tmp_path / "moves.webp"), *flags, *out]) == 0
    told = capsys.readouterr().out
    assert "look at" in told
    for i, picture in enumerate(pictures):
        edited = np.asarray(Image.open(tmp_path / "out" / "frames" / f"{i}.png"))
        changed = (edited != np.asarray(picture)).any(-1)
        assert changed.any() and not changed[:16].any() and not changed[48:].any()
    with Image.open(tmp_path / "out" / "moves.webp") as moves:
        assert moves.n_frames == 5
    assert (tmp_path / "out" / "moves_sheet.png").exists()
    report = json.loads((tmp_path / "out" / "frames.json").read_text())
    assert report["frames"] == 5
    assert edit.main([str(frames), "--frames", *flags, *out]) == 0
    assert "done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--stages"], "the stages of every frame"),
        (["--mask", "m.png"], "a mask by hand"),
        (["--variant", "official"], "add --variant product"),
        (["--attribute", "smiling=1@x"], "write a number"),
        (["--tune", "-1"], "give 0 or more"),
    ],
)
def test_flags_that_mean_nothing_for_a_clip(folder, clip, tmp_path, capsys, flags, words):
    flags = flags if "--attribute" in flags else [*flags, "--attribute", "smiling=1"]
    given = [str(clip), "--domain", str(folder), "--out", str(tmp_path), *flags]
    assert edit.main(given) == 2
    assert words in capsys.readouterr().err


def test_without_an_encoder_there_is_one_line(clip, tmp_path):
    with pytest.raises(UserError, match="needs an encoder"):
        run(small_editor.editor(encoded=False), clip, tmp_path)
