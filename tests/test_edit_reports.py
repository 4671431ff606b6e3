"""An output never replaces what the program did not itself write for the same photograph."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.faces import samples
from diffcam_jax.programs import edit, photographs, reports

ROOT = Path(__file__).parent.parent
SMILE = ["--attribute", "smiling=1"]


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(samples.hopper()).crop((80, 20, 440, 380)).save(path)
    return path


def refused(capsys, arguments, *words):
    assert edit.main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == ""
    for word in words:
        assert str(word) in captured.err


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_photograph_is_never_replaced_by_its_result(tmp_path, capsys):
    before = (me := photo(tmp_path / "me.png")).read_bytes()
    for force in ([], ["--force"]):
        refused(capsys, [me, *SMILE, "--out", tmp_path, *force], "would replace", "--out")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    refused(capsys, [me, *SMILE, "--out", link], "would replace")
    assert me.read_bytes() == before and len(listing(tmp_path)) == 1


@pytest.mark.parametrize("own", ["[1, 2]", '{"settings": 3}', "{}", "\xff", '{"photo": "x"}'])
def test_a_users_own_json_is_no_report(tmp_path, capsys, own):
    me = photo(tmp_path / "me.jpg")
    (tmp_path / "me.json").write_text(own, encoding="latin-1")
    before = listing(tmp_path)
    for force in ([], ["--force"]):
        refused(capsys, [me, *SMILE, "--out", tmp_path, *force], "me.json", "no earlier result")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("taken", ["me.png", "me.json", "me/aligned.png"])
def test_files_of_others_stay(tmp_path, capsys, taken):
    me = photo(tmp_path / "in" / "me.jpg")
    (tmp_path / "out" / taken).parent.mkdir(parents=True)
    (tmp_path / "out" / taken).write_bytes(b"theirs")
    before = listing(tmp_path)
    refused(
        capsys, [me, *SMILE, "--out", tmp_path / "out", "--stages"], "is no earlier result of", me
    )
    assert listing(tmp_path) == before


def test_a_report_belongs_to_its_photograph(tmp_path):
    one, other, out = tmp_path / "1" / "a.jpg", tmp_path / "2" / "a.jpg", tmp_path / "out"
    reports.claim(out, one, True)
    assert reports.is_of(reports.read(out, "a"), one)
    (out / "a.png").write_bytes(b"result")
    assert reports.check(out, one, True)  # after a kill, or with other settings
    with pytest.raises(UserError, match=r"a\.png: is there, and is no earlier result of"):
        reports.check(out, other, False)
    assert json.loads((out / "a.json").read_text())["settings"] == {}


def test_results_in_a_folder_are_not_edited_again(tmp_path):
    jpg, png = photo(tmp_path / "a.jpg"), photo(tmp_path / "b.png")
    reports.claim(tmp_path, jpg, False)
    (tmp_path / "a.png").write_bytes(b"result")
    found = photographs.find([tmp_path], lambda p: reports.is_result(p, tmp_path))
    assert found == [jpg, png]
    assert not reports.is_result(tmp_path / "a.png", tmp_path / "elsewhere")


@pytest.mark.weights
def test_a_folder_into_itself_and_again(tmp_path, capsys):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "errors.jpg")
    own = photo(tmp_path / "b.png").read_bytes()
    arguments = [str(tmp_path), *SMILE, "--out", str(tmp_path), "--tune", "0"]
    assert edit.main(arguments) == 1  # b.png cannot be written beside itself
    first = listing(tmp_path)
    assert {"a.png", "a.json", "errors.png", "errors.json", reports.ERRORS} < set(first)
    assert (tmp_path / "b.png").read_bytes() == own
    capsys.readouterr()
    assert edit.main(arguments) == 1
    assert "2 done before, 1 failed" in capsys.readouterr().out
    assert listing(tmp_path) == first


@pytest.mark.weights
def test_two_folders_with_one_name(tmp_path, capsys):
    one, two = photo(tmp_path / "1" / "a.jpg"), photo(tmp_path / "2" / "a.jpg")
    out = tmp_path / "out"
    assert edit.main([str(one), *SMILE, "--out", str(out), "--tune", "0"]) == 0
    capsys.readouterr()
    first = listing(out)
    refused(capsys, [two, *SMILE, "--out", out, "--tune", "0"], "a.png", two)
    assert edit.main([str(two.parent), *SMILE, "--out", str(out), "--tune", "0"]) == 1
    del (after := listing(out))[reports.ERRORS]
    assert after == first


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are text there")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_are_no_text_are_told_all_the_same(tmp_path, encoding):
    folder = os.fsencode(tmp_path / "photos")
    os.mkdir(folder)
    name = os.path.join(folder, b"caf\xe9 \xf0\x9f\x98\x80.jpg")
    with open(name, "wb") as file:
        file.write(b"no picture")
    run = subprocess.run(
        [sys.executable, "edit.py", folder, *SMILE, "--out", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert run.returncode == 1 and b"Traceback" not in run.stderr
    assert b"not a picture" in run.stderr and b"0 edited, 0 done before, 1 failed" in run.stdout
    (line,) = (tmp_path / "out" / reports.ERRORS).read_text().splitlines()
    assert os.fsencode(json.loads(line)["photo"]) == os.path.basename(name)
