"""evaluate.py from the command line: folders and protocols in debug mode, going on, and one clear
line for what is wrong.
"""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import folders, runner, settings
from diffcam_jax.evaluation.bench import groups
from diffcam_jax.evaluation.pictures import parse_source
from diffcam_jax.metrics.thumbnails import ThumbnailFeatures

ROOT = Path(__file__).parent.parent


def config(name, **changes):
    made = importlib.import_module(f"configs.eval.{name}").get_config("debug")
    made.update(changes)
    settings.check(made)
    return made


def fill(folder: Path, count: int = 5, side: int = 64, noise: int = 0, suffix: str = "png") -> Path:
    """Smooth pictures by number, with noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        ramp = np.linspace(20 * i, 255, side * side * 3).reshape(side, side, 3)
        noisy = ramp + np.random.default_rng((i, noise)).integers(-noise, noise + 1, ramp.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.{suffix}")
    return folder


def compare(tmp_path, *others, out="out", **changes):
    return runner.evaluate(
        config("folders", **changes), tmp_path / out, [str(o) for o in others], "command"
    )


def test_folders_are_scored_by_name_and_as_sets(tmp_path):
    a, near, far = (
        fill(tmp_path / name, noise=noise) for name, noise in (("a", 0), ("near", 3), ("far", 40))
    )
    document = compare(tmp_path, a, near, far)
    assert document.problems == {}
    (table,) = document.sections[0].tables
    rows = {Path(row[0]).name: dict(zip(table.columns, row)) for row in table.rows}
    assert list(rows) == ["near", "far"] and rows["near"]["pictures"] == "5"

    def value(name, column):
        return float(rows[name][column].split()[0])

    assert value("near", "PSNR dB") > value("far", "PSNR dB") + 10
    assert value("near", "SSIM") > value("far", "SSIM")
    pairs = [
        [np.asarray(Image.open(f / f"{i}.png"), np.float64) / 127.5 for f in (a, far)]
        for i in range(5)
    ]
    assert value("far", "MSE") == pytest.approx(
        np.mean([((x - y) ** 2).mean() for x, y in pairs]), abs=1e-4
    )
    assert "kernel distance of thumbnails x1000 (headline)" in table.columns and any(
        note.startswith("Warning: 5 pictures") for note in table.notes
    )
    assert (tmp_path / "out" / "report.html").is_file() and (
        tmp_path / "out" / "report.md"
    ).is_file()
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(lines) == 10 and {line["subject"] for line in lines} == {str(near), str(far)}


def test_a_bad_picture_is_listed_and_another_format_is_the_same_name(tmp_path):
    a, b = fill(tmp_path / "a"), fill(tmp_path / "b", suffix="jpg")
    (b / "2.jpg").write_bytes((b / "2.jpg").read_bytes()[:-200])
    document = compare(tmp_path, a, b)
    ((name, reason),) = document.problems.items()
    assert name.endswith("2.jpg") and "truncated" in reason
    assert document.sections[0].tables[0].rows[0][1] == "4"
    assert "truncated" in (tmp_path / "out" / "report.md").read_text()


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    a, b = fill(tmp_path / "a"), fill(tmp_path / "b", noise=9)
    first = compare(tmp_path, a, b)
    path = tmp_path / "out" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    measured = []
    read = folders.read
    monkeypatch.setattr(
        folders, "read", lambda p, size: measured.append(Path(p).stem) or read(p, size)
    )
    again = compare(tmp_path, a, b)
    assert again.sections[0].tables == first.sections[0].tables
    assert sorted(path.read_text().splitlines()) == sorted(lines)
    assert {"3", "4"} <= set(measured)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda b: shutil.rmtree(b), ["no such folder"]),
        (lambda b: [p.unlink() for p in b.iterdir()], ["no pictures"]),
        (lambda b: fill(b, side=80), ["mixed sizes", "64x64", "80x80", "--config.size"]),
        (lambda b: fill(b, count=1, suffix="jpg"), ["0.jpg", "0.png", "one name"]),
        (lambda b: [p.write_bytes(b"") for p in b.iterdir()], ["at least 2 are needed", "empty"]),
    ],
    ids=["missing", "empty", "other size", "twice", "nothing readable"],
)
def test_folders_that_cannot_be_compared(tmp_path, spoil, words):
    a, b = fill(tmp_path / "a"), fill(tmp_path / "b")
    spoil(b)
    with pytest.raises(UserError) as caught:
        compare(tmp_path, a, b)
    for word in words:
        assert word in str(caught.value), caught.value


def test_folders_of_other_names_or_counts_are_compared_as_sets(tmp_path, capsys):
    a, b, c = fill(tmp_path / "a", 7), fill(tmp_path / "b", 5, noise=5), fill(tmp_path / "c", 7)
    for number, path in enumerate(sorted(b.iterdir())):
        path.rename(b / f"seed{number:04d}.png")
    (b / "seed0004.png").write_bytes(b"no picture")
    for folder in ("@eaDir", "__MACOSX", ".thumbnails"):  # no more pictures than there are
        shutil.copytree(a, c / folder)
    shutil.copy(a / "0.png", c / "._0.png")
    document = compare(tmp_path, a, b, c)
    (table,) = document.sections[0].tables
    unpaired, paired = (dict(zip(table.columns, row)) for row in table.rows)
    assert unpaired["pictures"] == "7 and 4" and paired["pictures"] == "7"
    assert unpaired["MSE"] == unpaired["SSIM"] == "-" and paired["SSIM"].startswith("1.000")

    # The Frechet distance by its formula, of the features of all pictures of both folders.
    def features(folder):
        names = sorted(folder.glob("[!.]*.png"), key=lambda path: path.stem)
        found = [np.asarray(Image.open(p)) for p in names if p.read_bytes()[:2] != b"no"]
        return np.float64(ThumbnailFeatures()(np.stack(found)))

    means, covariances = zip(*((x.mean(0), np.cov(x.T)) for x in map(features, (a, b))))
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex))
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(sum(covariances))
    (column,) = (name for name in table.columns if name.startswith("Frechet"))
    frechet = float(unpaired[column].split()[0])
    assert frechet == pytest.approx(expected - 2 * roots.real.sum(), abs=0.006)
    assert float(unpaired["SWD x1000 at 256 or less"]) > 1
    assert float(paired["SWD x1000 at 256 or less"]) == 0

    (note,) = (note for note in table.notes if note.startswith("Only the sets are compared"))
    for word in ("7 pictures and", "lacks 7 pictures (the first is 0)", "same file names"):
        assert word in note
    assert "only the sets are compared" in capsys.readouterr().err
    assert [Path(name).name for name in document.problems] == ["seed0004.png"]
    again = compare(tmp_path, a, b, c)  # from what was kept
    assert again.sections[0].tables == document.sections[0].tables
    assert again.problems == document.problems


def test_pictures_that_are_too_small_are_no_riddle(tmp_path):
    a, b = fill(tmp_path / "a", side=8), fill(tmp_path / "b", side=8)
    with pytest.raises(UserError, match=r"0 pictures can be .*8x8 pixels are too few") as caught:
        compare(tmp_path, a, b)
    assert "\n" not in str(caught.value)


def test_other_sizes_are_brought_to_one(tmp_path):
    a, b = fill(tmp_path / "a"), fill(tmp_path / "b", side=128)
    document = compare(tmp_path, a, b, size=32)
    assert document.sections[0].tables[0].rows[0][1] == "5"


def call(*arguments):
    """evaluate.py as a command."""
    return subprocess.run(
        [sys.executable, "evaluate.py", *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_the_command_from_start_to_report_and_with_other_settings(tmp_path):
    a, b = fill(tmp_path / "a"), fill(tmp_path / "b")
    # Flags may follow the folders.
    command = [
        "--config=configs/eval/folders.py:debug",
        "--folders",
        str(a),
        str(b),
        "--workdir",
        str(tmp_path / "out"),
    ]
    done = call(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"open {tmp_path / 'out' / 'report.html'}"
    other = call(*command, "--config.seed=1")
    assert other.returncode == 2 and other.stderr.count("\n") == 1
    assert other.stderr.startswith("error: ") and "seed was 0 and is 1" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--workdir"]),
        (["--workdir=x", "--folders=docs"], ["one folder", "--folders A B"]),
        (["--workdir=x", "docs"], ["unknown argument 'docs'"]),
        (["--config=configs/eval/nothing.py", "--workdir=x"], ["nothing.py"]),
        (["--workdir=x", "--config.sed=1"], ["sed"]),
        (["--workdir=x", "--config.psi=much"], ["much"]),
    ],
    ids=["no folder", "one folder", "stray word", "no config", "no field", "no number"],
)
def test_wrong_commands_end_with_one_line(arguments, words):
    done = call(*arguments)
    assert (
        done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    ), done.stderr
    for word in words:
        assert word in done.stderr
    assert not (ROOT / "x").exists()


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("masks", {"protocols": ("mask",)}, ["no protocol is called 'mask'"]),
        ("masks", {"protocols": ("editing",)}, ["config.editing"]),
        ("masks", {"size": 48}, ["48", "power of two"]),
        ("masks", {"bootstrap": -1}, ["config.bootstrap=-1", "0 or more"]),
        ("folders", {"pairs": ("mse", "flip")}, ["flip", "lpips_vgg"]),
        ("folders", {"features": "clip"}, ["clip", "inception"]),
        ("masks", {"judge": "people"}, ["people", "faces"]),
        ("masks", {"generator": "no/such/folder"}, ["no/such/folder"]),
    ],
)
def test_wrong_fields(tmp_path, name, changes, words):
    compared = [str(fill(tmp_path / c)) for c in "ab"] if name == "folders" else []
    with pytest.raises(UserError) as caught:
        runner.evaluate(config(name, **changes), tmp_path / "out", compared, "command")
    for word in words:
        assert word in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"sources": ("generated",)}, ["generated", "number"]),
        ({"sources": ("toy:many",)}, ["many", "whole number"]),
        ({"sources": ("celebrities:3",)}, ["celebrities", "photographs"]),
        ({"sources": ("folder",)}, ["--config.folder"]),
        ({"sources": ("prepared",)}, ["--config.prepared"]),
        ({"methods": ("mse", "e4e")}, ["e4e", "in_domain"]),
        ({"methods": ("encoder", "in_domain")}, ["need an encoder", "--config.encoder"]),
    ],
)
def test_wrong_settings_of_a_protocol(tmp_path, part, words):
    made = config("reconstruction")
    made.reconstruction.update(part)
    with pytest.raises(UserError) as caught:
        runner.evaluate(made, tmp_path / "out", [], "command")
    for word in words:
        assert word in str(caught.value), caught.value


def test_small_things():
    assert parse_source("generated:500") == ("generated", 500) and parse_source("folder") == (
        "folder",
        0,
    )
    assert list(groups(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
