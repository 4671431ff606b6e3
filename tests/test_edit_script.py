"""`edit.py` from the command line: pictures out, resumption, and one clear line for everything that
can go wrong.
"""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.faces import samples
from diffcam_jax.programs import edit

ROOT = Path(__file__).parent.parent
SMILE = ["--attribute", "smiling=1"]


def picture(path: Path, size: tuple[int, int] = (200, 160)) -> Path:
    """A picture without a face."""
    gradient = (
        np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    )
    Image.fromarray(gradient).save(path)
    return path


def bomb(path: Path) -> Path:
    """A PNG whose header claims 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )
    return path


def truncated(path: Path) -> Path:
    whole = picture(path.with_name("whole.jpg")).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def text(path: Path, content: bytes = b"<html>no picture</html>") -> Path:
    path.write_bytes(content)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def fails(capsys, arguments: list[str], *words: str) -> None:
    assert edit.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    for word in words:
        assert word in captured.err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "missing.jpg", ["missing.jpg"]),
        (lambda p: folder(p / "empty"), ["no pictures"]),
        (lambda p: text(p / "page.png"), ["page.png"]),
        (lambda p: truncated(p / "half.jpg"), ["half.jpg", "truncated"]),
        (lambda p: text(p / "nothing.png", b""), ["nothing.png", "empty"]),
        (lambda p: picture(p / "dot.png", (1, 1)), ["dot.png", "1x1"]),
        (
            lambda p: bomb(p / "bomb.png"),
            ["bomb.png", "the header claims far too many", "400000000 pixels"],
        ),
    ],
    ids=["missing", "empty folder", "not a picture", "truncated", "0 bytes", "1x1", "bomb"],
)
def test_unusable_photographs(tmp_path, capsys, make, words):
    out = tmp_path / "out"
    fails(capsys, [str(make(tmp_path)), *SMILE, "--out", str(out)], *words)
    assert not list(out.glob("*.png")) and not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (["smilling=1"], ["did you mean smiling"]),
        (["smiling=9"], ["out of range"]),
        (["smiling=much"], ["not a number"]),
        (["smiling=nan"], ["not a number"]),
        (["smiling"], ["not a number", "smiling=1"]),
        (["smiling=1", "smiling=0.5"], ["twice"]),
        ([], ["--attribute"]),
    ],
)
def test_unusable_attributes(tmp_path, capsys, attributes, words):
    flags = [part for a in attributes for part in ("--attribute", a)]
    fails(
        capsys, [str(picture(tmp_path / "a.png")), *flags, "--out", str(tmp_path / "out")], *words
    )


def test_no_photograph_and_clashing_names(tmp_path, capsys):
    fails(capsys, [*SMILE, "--out", str(tmp_path)], "no photograph")
    one, two = picture(tmp_path / "a.png"), picture(tmp_path / "a.jpg")
    fails(capsys, [str(one), str(two), *SMILE, "--out", str(tmp_path / "out")], "rename one")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--face", "first"], "--face first"),
        (["--face", "0"], "--face 0"),
        (["--steps", "0"], "--steps 0"),
        (["--tune", "-1"], "--tune -1"),
        (["--tune", "5", "--generator", "own"], "add --variant product"),
        (["--steps", "5", "--encoder", "own"], "an encoder gives the code"),
    ],
)
def test_unusable_numbers(tmp_path, capsys, flags, word):
    fails(
        capsys,
        [str(picture(tmp_path / "a.png")), *SMILE, *flags, "--out", str(tmp_path / "out")],
        word,
    )


def test_output_that_is_a_file(tmp_path, capsys):
    blocked = text(tmp_path / "file")
    fails(
        capsys,
        [str(picture(tmp_path / "a.png")), *SMILE, "--out", str(blocked / "out")],
        "choose another --out",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission(tmp_path, capsys):
    closed = folder(tmp_path / "closed")
    closed.chmod(0o500)
    fails(
        capsys,
        [str(picture(tmp_path / "a.png")), *SMILE, "--out", str(closed)],
        "choose another --out",
    )


def test_list(capsys):
    assert edit.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for name in (
        "smiling",
        "mouth_open",
        "eyes_closed",
        "old",
        "gender",
        "eyeglasses",
        "beard",
        "bushy_eyebrows",
    ):
        assert name in listed


def test_errors_of_the_script_have_no_traceback(tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            "edit.py",
            str(tmp_path / "none.png"),
            *SMILE,
            "--out",
            str(tmp_path / "out"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        result.returncode == 2
        and "Traceback" not in result.stderr
        and result.stderr.count("\n") == 1
    )


@pytest.mark.weights
def test_no_face(tmp_path, capsys):
    fails(
        capsys,
        [str(picture(tmp_path / "plain.png")), *SMILE, "--out", str(tmp_path / "out")],
        "no face",
        "--landmarks",
    )
    assert not (tmp_path / "out" / "plain.png").exists()


@pytest.mark.weights
def test_a_folder_with_a_bad_file(tmp_path, capsys):
    photos, out = folder(tmp_path / "photos"), tmp_path / "out"
    Image.open(samples.hopper()).crop((80, 20, 440, 380)).save(photos / "b_hopper.png")
    text(photos / "a_bad.jpg")
    arguments = [str(photos), *SMILE, "--out", str(out), "--stages"]
    assert edit.main(arguments) == 1
    captured = capsys.readouterr()
    assert "a_bad.jpg" in captured.err and "1 edited" in captured.out and "1 failed" in captured.out
    (line,) = (out / "diffcam_errors.jsonl").read_text().splitlines()
    assert json.loads(line)["photo"] == "a_bad.jpg"

    before, after = (
        np.asarray(Image.open(photos / "b_hopper.png")),
        np.asarray(Image.open(out / "b_hopper.png")),
    )
    assert before.shape == after.shape and before.dtype == after.dtype
    report = json.loads((out / "b_hopper.json").read_text())
    same = (before == after).all(-1)
    assert report["untouched_exact"] and 0.3 < report["untouched_share"] <= same.mean() < 1
    assert {"strengths", "weights", "versions", "seconds", "faces"} <= set(report)
    face = report["faces"][0]
    assert set(face["classifier"]["smiling"]) == {"logits", "agrees"} and 0 < face["mask_area"] < 1
    stages = {p.name for p in (out / "b_hopper").iterdir()}
    names = ("aligned", "inverted", "edited", "cam_mask", "mask", "fused", "result", "stages")
    assert stages == {f"{n}.png" for n in names}
    np.testing.assert_array_equal(np.asarray(Image.open(out / "b_hopper" / "result.png")), after)

    # A rerun skips what is done and tries the bad one again.
    stamp = (out / "b_hopper.png").stat().st_mtime_ns
    assert edit.main(arguments) == 1
    assert "1 done before" in capsys.readouterr().out
    assert (out / "b_hopper.png").stat().st_mtime_ns == stamp
