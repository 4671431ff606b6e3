"""Preparing datasets: contents, bad files, and that an interruption changes nothing."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skimage
from absl import flags
from PIL import Image

from diffcam_jax.data import __main__ as command
from diffcam_jax.data import prepare as preparing
from diffcam_jax.data import shards
from diffcam_jax.data.builders import open_prepared
from diffcam_jax.data.pictures import read_square
from diffcam_jax.data.prepare import prepare
from diffcam_jax.errors import UserError
from diffcam_jax.faces.align import crop, ffhq_quad
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.photo import read_photo

flags.FLAGS.mark_as_parsed()
ROOT = Path(__file__).parent.parent


def write(path: Path, height=64, width=64, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((seed, *path.name.encode()))
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of several shapes and formats, and three files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(30):
        write(folder / f"{i % 3}/{i:02d}.png", 70 + i, 99)
    write(folder / "large.jpg", 256, 256)
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes((folder / "0/00.png").read_bytes()[:900])
    write(folder / "tiny.png", 8, 8)
    write(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def contents(out: Path) -> dict[str, bytes]:
    """The files of the dataset, which can be opened."""
    folder = open_prepared(out, "mine").folder
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name for name in found if name.endswith(".json")} == {
        "recipe.json",
        "errors.json",
        "features.json",
        "dataset_info.json",
    }
    return found


def test_pictures_come_back_exactly(folder, tmp_path):
    recipe = prepare(folder, "mine", 64, tmp_path, test_share=0.2)
    dataset = open_prepared(tmp_path, "mine")
    assert dataset.recipe == recipe and recipe["left_out"] == 3 and recipe["enlarged"] == 0
    errors = json.loads((dataset.folder / "errors.json").read_text())
    assert set(errors) == {"text.png", "cut.png", "tiny.png"} and "truncated" in errors["cut.png"]
    assert not any(str(folder) in reason for reason in errors.values())
    names = {}
    for split, examples in dataset.splits.items():
        names[split] = [example["name"].decode() for example in examples]
        for example in examples:
            picture, _ = read_square(folder / example["name"].decode(), 64)
            np.testing.assert_array_equal(example["image"], picture)
    assert sorted(names["train"] + names["test"]) == sorted(
        [*(f"{i % 3}/{i:02d}.png" for i in range(30)), "large.jpg"]
    )
    assert {split: len(listed) for split, listed in names.items()} == recipe["counts"] and 1 <= len(
        names["test"]
    ) <= 14
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "unfinished"]
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["mine.lock"]
    assert "tensorflow" not in sys.modules


def test_squares_are_cut_from_the_centre_and_16_bits_rounded(tmp_path):
    import cv2

    wide = np.zeros((64, 128, 3), np.uint16)
    wide[:, 32:96] = 257 * 77 + 128  # nearest level 77; whatever lies beside the square is black
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    picture, enlarged = read_square(tmp_path / "wide.png", 32)
    assert picture.shape == (32, 32, 3) and (picture == 77).all() and not enlarged
    picture, enlarged = read_square(tmp_path / "wide.png", 96)
    assert picture.shape == (96, 96, 3) and enlarged


class Stop(Exception):
    pass


def test_an_interrupted_preparation_goes_on_to_the_same_dataset(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_SHARD_COUNTS", (1, 4))
    prepare(folder, "mine", 64, tmp_path / "whole", test_share=0.2, workers=1)
    whole = contents(tmp_path / "whole")
    assert len(whole) >= 8 + 4

    read, reads = preparing.read_square, []

    def stopping(path, size):
        reads.append(path)
        if len(reads) in (11, 23):
            raise Stop
        return read(path, size)

    monkeypatch.setattr(preparing, "read_square", stopping)
    for _ in range(2):
        with pytest.raises(Stop):
            prepare(folder, "mine", 64, tmp_path / "cut", test_share=0.2, workers=1)
    with pytest.raises(UserError, match="unfinished preparation"):
        prepare(folder, "mine", 32, tmp_path / "cut", test_share=0.2)
    kept = sorted((tmp_path / "cut/unfinished/mine").glob("*.array_record"))
    place, publish = tmp_path / "cut/pictures/mine/1.0.0", shards._publish

    def half_published(*arguments):
        publish(*arguments)
        next(place.glob("*.array_record*")).unlink()
        raise Stop

    monkeypatch.setattr(shards, "_publish", half_published)
    with pytest.raises(Stop):
        prepare(folder, "mine", 64, tmp_path / "cut", test_share=0.2, workers=1)
    monkeypatch.setattr(shards, "_publish", publish)
    prepare(folder, "mine", 64, tmp_path / "cut", test_share=0.2, workers=3)
    assert contents(tmp_path / "cut") == whole
    assert (
        kept and len(reads) < 34 + 2 * 5
    )  # all files once, and again only those of the shards that were cut off
    assert list((tmp_path / "cut/pictures/mine").iterdir()) == [place]


def test_killed_and_run_again(tmp_path):
    for i in range(40):
        write(tmp_path / f"src/{i}.png", 400, 400)
    arguments = [
        "prepare",
        "--src",
        str(tmp_path / "src"),
        "--name",
        "mine",
        "--size",
        "64",
        "--workers",
        "1",
    ]
    code = (
        "import sys; from diffcam_jax.data import __main__ as m, shards as p; p._SHARD_COUNTS = "
        "(1, 4); "
        "sys.exit(m.main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", code, *arguments, "--out"]
    run = subprocess.Popen([*line, str(tmp_path / "cut")], cwd=ROOT)
    while not list((tmp_path / "cut/unfinished/mine").glob("train-00002.json")):
        time.sleep(0.005)
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and not (tmp_path / "cut/pictures").exists()
    done = subprocess.run(
        [*line, str(tmp_path / "cut")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mine: ") and "prepared" in done.stdout and done.stderr == ""
    subprocess.run([*line, str(tmp_path / "whole")], cwd=ROOT, capture_output=True, check=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_dataset_is_made_once(folder, tmp_path, monkeypatch):
    recipe = prepare(folder, "mine", 16, tmp_path)
    monkeypatch.setattr(preparing, "read_square", None)
    assert prepare(folder, "mine", 16, tmp_path) == recipe
    with pytest.raises(UserError, match="another dataset of this name"):
        prepare(folder, "mine", 32, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--src": "{tmp}/none"}, "no such folder"),
        ({"--src": "{tmp}/empty"}, "no pictures in it"),
        (
            {"--src": "{tmp}/bad"},
            "not one picture can be used; the first, a.png: the file is empty",
        ),
        ({"--size": "0"}, "--size 0"),
        ({"--name": "a/b"}, "letters, digits"),
        ({"--test-share": "1"}, "from 0 to below 1"),
        ({"--pairs": "{tmp}/bad", "--align": ""}, "leave out --align"),
        ({"--out": "{tmp}/file"}, "cannot write to .*file .*choose another --out"),
    ],
)
def test_bad_input_is_one_clear_line(options, message, folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").touch()
    (tmp_path / "file").touch()
    values = {
        "--src": str(folder),
        "--name": "mine",
        "--size": "16",
        "--out": str(tmp_path / "out"),
        **options,
    }
    arguments = [word.format(tmp=tmp_path) for pair in values.items() for word in pair if word]
    assert command.main(["prepare", *arguments]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert re.search(message, said)


def test_what_was_left_out_or_enlarged_is_told(folder, tmp_path, capsys):
    arguments = [
        "prepare",
        "--src",
        str(folder),
        "--name",
        "mine",
        "--size",
        "80",
        "--out",
        str(tmp_path),
    ]
    assert command.main(arguments) == 0
    captured = capsys.readouterr()
    assert (
        "3 of 34 pictures left out" in captured.err
        and "10 of 31 pictures are smaller than 80" in captured.err
    )
    assert captured.out.startswith("mine: ") and "config.data.source=prepared" in captured.out


def test_ctrl_c_says_how_to_go_on(folder, tmp_path, capsys, monkeypatch):
    def interrupted(path, size):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "read_square", interrupted)
    arguments = [
        "prepare",
        "--src",
        str(folder),
        "--name",
        "mine",
        "--size",
        "16",
        "--out",
        str(tmp_path),
    ]
    assert command.main(arguments) == 130
    assert capsys.readouterr().err == "prepare: stopped; the same command goes on from here\n"


def test_a_full_disk_leaves_what_was_finished(tmp_path):
    for i in range(6):
        write(tmp_path / f"src/{i}.png", 200, 200)
    code = (
        "import resource, signal, sys; from diffcam_jax.data import __main__ as m, shards as p; "
        "p._SHARD_COUNTS = (1, 2); signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY)); "
        "sys.exit(m.main(sys.argv[1:]))"
    )
    arguments = [
        "--src",
        str(tmp_path / "src"),
        "--name",
        "mine",
        "--out",
        str(tmp_path / "out"),
        "--size",
    ]
    run = subprocess.run(
        [sys.executable, "-c", code, "prepare", *arguments, "200"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        run.returncode == 2
        and "free some space" in run.stderr
        and len(run.stderr.splitlines()) == 1
    )
    assert (
        not list((tmp_path / "out").rglob("train-*.json"))
        and not (tmp_path / "out/pictures").exists()
    )


@pytest.mark.weights
def test_faces_are_cut_out_as_in_ffhq(tmp_path):
    astronaut = Path(skimage.__file__).parent / "data/astronaut.png"
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.png").write_bytes(astronaut.read_bytes())
    write(tmp_path / "src/noise.png", 128, 128)
    prepare(tmp_path / "src", "faces", 64, tmp_path / "out", align=True, test_share=0.0)
    dataset = open_prepared(tmp_path / "out", "faces")
    assert json.loads((dataset.folder / "errors.json").read_text()) == {
        "noise.png": "no face found"
    }
    pixels = read_photo(astronaut).pixels
    with FaceLandmarker() as landmarker:
        quad = ffhq_quad(landmarker.detect(pixels)[0].points)
    expected = np.rint(crop(pixels, quad, 64) * 255)
    np.testing.assert_array_equal(dataset.splits["train"][0]["image"], expected)
