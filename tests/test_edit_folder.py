"""A folder whose photographs are edited side by side, or by several machines."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.programs import edit, reports
from tests import small_editor

BAD = "c_is_no_picture.png"


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    return small_editor.edit_flags(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for name in "abdefgh":
        pixels = rng.integers(0, 256, (small_editor.SIDE, small_editor.SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{name}.png")
    (root / BAD).write_bytes(b"nothing")
    return root


def results(folder: Path, out: Path, *flags: str) -> dict[str, bytes]:
    """The pictures that an edit writes, by name."""
    edit.main([str(folder), "--out", str(out), *flags])
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.png"))}


def told(out: Path) -> list[str]:
    lines = [line for path in out.glob("*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line)["photo"] for line in lines]


@pytest.fixture(scope="module")
def alone(folder, flags, tmp_path_factory):
    return results(folder, tmp_path_factory.mktemp("alone"), *flags, "--jobs", "1")


def test_side_by_side_gives_the_same_bytes(folder, flags, alone, tmp_path, capsys):
    found = results(folder, tmp_path, *flags, "--jobs", "3")
    assert found == alone and set(found) == {f"{name}.png" for name in "abdefgh"}
    assert told(tmp_path) == [BAD]
    assert "7 edited, 0 done before, 1 failed" in capsys.readouterr().out


def test_parts_make_the_whole(folder, flags, alone, tmp_path, capsys):
    for number in (1, 2, 3):
        before = {path.name for path in tmp_path.glob("*.png")}
        found = results(folder, tmp_path, *flags, "--part", f"{number}/3")
        assert len(set(found) - before) == (3, 3, 1)[number - 1]
    assert found == alone and told(tmp_path) == [BAD]
    assert not (tmp_path / reports.ERRORS).exists()
    # Which part has the damaged file follows from the names alone.
    (listed,) = tmp_path.glob("*.jsonl")
    assert listed.name == "diffcam_errors_3_of_3.jsonl"
    capsys.readouterr()
    results(folder, tmp_path, *flags, "--part", "1/3")
    assert "done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given", [["--part", "3/2"], ["--part", "0/2"], ["--part", "2"], ["--jobs", "0"]]
)
def test_impossible_parts_are_refused_in_one_line(folder, tmp_path, capsys, given):
    with pytest.raises(SystemExit) as ended:
        edit.main([str(folder), "--attribute", "old=1", "--out", str(tmp_path / "out"), *given])
    assert ended.value.code == 2 and given[1] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
