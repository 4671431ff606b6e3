"""What is wrong with pictures and labels is found before anything is trained, all of it at once."""

import shutil

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.directions.labels import read_labels
from diffcam_jax.domain import inputs, running
from diffcam_jax.domain.request import Request
from diffcam_jax.errors import UserError


def fill(folder, count=8, size=(64, 64), mode="RGB", first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        pixels = np.random.default_rng(i).integers(0, 256, (*size[::-1], 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:03d}.png")
    return folder


def table(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def look(folder, labels=None, size=64, fewest=4):
    return inputs.look(folder, labels, size, folder.parent / "domain", fewest)


def test_good_pictures_and_labels_have_no_problems(tmp_path):
    folder = fill(tmp_path / "in", 64)
    rows = [f"{i:03d}.png,{i % 2},{i / 64 if i % 3 else ''}" for i in range(64)]
    found = look(folder, table(tmp_path / "l.csv", "file,wings,size", *rows))
    assert found.problems == [] and found.notes == []
    assert found.names == [f"{i:03d}.png" for i in range(64)]
    assert found.values["wings"]["003.png"] == 1 and "003.png" not in found.values["size"]
    kept = tmp_path / "kept.csv"
    kept.write_text(inputs.table(found.names, found.values))
    again = read_labels(kept, 64, names=found.names)
    np.testing.assert_array_equal(again["wings"], np.arange(64) % 2)
    assert np.isnan(again["size"][::3]).all() and np.isfinite(again["size"][1::3]).all()


def test_everything_wrong_is_said_at_once(tmp_path):
    folder = fill(tmp_path / "in", 3)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (folder / "empty.jpg").write_bytes(b"")
    rows = ["000.png,1,yes,1", "001.png,1,0,2", "000.png,0,1,1", "nowhere.png,0,0,1", "002.png,1"]
    labels = table(tmp_path / "labels.csv", "file,wings,beak,tail", *rows)
    found = look(folder, labels, fewest=200)
    said = "\n".join(found.problems)
    for words in (
        "3 pictures can be read, at least 200 are needed",
        "2 files cannot be read: broken.png (",
        "labels.csv: 1 rows name pictures that are not there: nowhere.png",
        "labels.csv: 1 rows name a picture again: 000.png",
        "labels.csv: 1 rows do not have 4 cells as the header does: line 6",
        "labels.csv: 1 cells of beak are no numbers: 'yes' in line 2",
        "labels.csv: wings has the value 1 only; an attribute needs pictures with it and without",
        "labels.csv: tail has 1 pictures of value 1; at least 20 are needed",
    ):
        assert words in said, words


def test_what_is_worth_knowing_is_a_note(tmp_path):
    folder = fill(tmp_path / "in", 4)
    fill(folder, 2, size=(80, 72), mode="L", first=4)
    shutil.copy(folder / "000.png", folder / "copy.png")
    found = look(folder, size=128)
    said = "\n".join(found.notes)
    assert found.problems == []
    for words in (
        "1 pictures are there more than once: 000.png = copy.png",
        "7 pictures are smaller than 128, enlarged: 000.png, 001.png, 002.png and 4 more",
        "sizes differ, all become 128x128: 5 64x64, 2 80x72",
        "colours become RGB, transparent places white: 5 RGB, 2 L",
    ):
        assert words in said, words


def test_a_full_disk_is_found_before(tmp_path, monkeypatch):
    folder = fill(tmp_path / "in", 4)
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (problem,) = look(folder).problems
    assert "has 0.0 GB left, about 1.3 are needed" in problem


@pytest.mark.parametrize(
    ("header", "words"),
    [("name,wings", 'must be "file"'), ("file", "must be"), ("file,a,a", "all different")],
)
def test_no_table(tmp_path, header, words):
    with pytest.raises(UserError, match=words):
        look(fill(tmp_path / "in", 4), table(tmp_path / "l.csv", header, "000.png,1,1"))


def test_nothing_is_written_while_there_are_problems(tmp_path, capsys):
    request = Request("few", fill(tmp_path / "in", 4), None, 64)
    with pytest.raises(UserError, match="1 problems to mend before anything is trained"):
        running.make(tmp_path / "out", request)
    assert "problem: 4 pictures can be read, at least 200" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
