"""What a run on a cluster is told and leaves behind: manifest, places, shares, refusals."""

import sys
from pathlib import Path

import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.programs import (
    cluster_files,
    cluster_manifest,
    cluster_workers,
    edit,
    edit_cluster,
)
from diffcam_jax.programs.cluster_files import Stamp
from diffcam_jax.programs.cluster_manifest import Row

pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def src(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    (root / "a").mkdir()
    (root / "a" / "b.jpg").write_bytes(b"nothing")
    return root


def listed(out: Path):
    return cluster_files.listing(cluster_files.open_place("--out", str(out)))


# ---------------------------------------------------------------- the manifest


def row(photo: str, result: str, settings: str, written: int) -> Row:
    return Row(photo, result, "" if result else "broken", "", settings, "{}", 1.0, written)


def test_the_latest_row_of_a_photograph_counts(tmp_path):
    out = cluster_files.open_place("--out", str(tmp_path))
    cluster_manifest.write(out, "1", [row("a.jpg", "", "s", 1), row("b.jpg", "b.png", "s", 2)])
    cluster_manifest.write(out, "2", [row("a.jpg", "a.png", "s", 3)])
    cluster_manifest.merge(out)
    cluster_manifest.write(out, "1", [row("b.jpg", "b.png", "other", 5), row("c.jpg", "", "s", 4)])
    held = [*listed(tmp_path), "a.png", "b.png"]
    expected = {"a.jpg": "s", "b.jpg": "other"}
    assert cluster_manifest.done(out, held) == expected
    cluster_manifest.merge(out)
    assert set(listed(tmp_path)) == {cluster_manifest.WHOLE}
    rows = parquet.read_table(tmp_path / cluster_manifest.WHOLE).to_pylist()
    assert sorted((r["photo"], r["written"]) for r in rows) == [
        ("a.jpg", 3),
        ("b.jpg", 5),
        ("c.jpg", 4),
    ]
    # A picture that somebody removed is made again.
    assert cluster_manifest.done(out, [*listed(tmp_path), "b.png"]) == {"b.jpg": "other"}


def test_a_digest_changes_with_the_file_and_with_the_edit():
    stamp = Stamp(10, 20)
    found = cluster_manifest.digest({"tune": 7}, stamp)
    assert found == cluster_manifest.digest({"tune": 7}, Stamp(10, 20))
    assert found != cluster_manifest.digest({"tune": 8}, stamp)
    assert found != cluster_manifest.digest({"tune": 7}, Stamp(10, 21))


# ---------------------------------------------------------------- places


@pytest.mark.parametrize("uri", ["FOLDER", "mock://somewhere/out", "memory://out"])
def test_files_are_written_whole_in_any_place(tmp_path, uri):
    place = cluster_files.open_place("--out", uri.replace("FOLDER", str(tmp_path)))
    for content in (b"first", b"another"):
        cluster_files.put(place, "a/b/c.png", content)
        (name,) = cluster_files.listing(place)
        assert name == "a/b/c.png" and cluster_files.read(place, name, 7) == content


def test_a_uri_is_told_without_its_secrets():
    place = cluster_files.open_place("--src", "s3://user:secret@bucket/in/?region=us-east-1")
    assert place.uri == "s3://bucket/in" and place.kind == "s3"


def test_photographs_of_one_result_are_refused(tmp_path):
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\.jpg and a\.png would both be written to a\.png"):
        cluster_files.photographs(cluster_files.open_place("--src", str(tmp_path)))


# ---------------------------------------------------------------- shares of a cluster


@pytest.mark.parametrize(
    ("nodes", "jobs", "expected"),
    [
        ([{"CPU": 2.0}], None, (1, 2, 0)),
        ([{"CPU": 2.0}], 2, (2, 1, 0)),
        ([{"CPU": 2.0}], 4, (4, 1, 0)),
        ([{"CPU": 16.0}, {"CPU": 8.0}], None, (6, 4, 0)),
        ([{"CPU": 16.0}, {"CPU": 16.0}], 2, (2, 16, 0)),
        ([{}, {"CPU": 64.0, "GPU": 8.0}], None, (8, 4, 1)),
        ([{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}], None, (1, 2, 1)),
    ],
)
def test_shares_of_a_cluster(nodes, jobs, expected):
    assert cluster_workers.share(nodes, jobs) == expected


def test_batches_hold_every_photograph_once_and_have_names_of_their_own():
    todo = [(f"{i}.jpg", Stamp(1, 1)) for i in range(100)]
    found = list(edit_cluster._batches(todo, 2))
    assert [one for _, batch in found for one in batch] == todo
    assert len({name for name, _ in found}) == len(found) >= 8
    assert found == list(edit_cluster._batches(todo, 2))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--ray", "local"], "add --src"),
        (["--ray", "somewhere", "--src", "SRC"], "give local, auto or ray://HOST:PORT"),
        (["--ray", "local", "--src", "SRC", "--stages"], "--stages goes not together"),
        (["--ray", "local", "--src", "SRC", "--part", "1/2"], "--part goes not together"),
        (["--ray", "local", "--src", "NONE"], "no pictures there"),
        (["--ray", "local", "--src", "what://is/this"], "--src what://is/this: cannot be opened"),
        (["--ray", "local", "--src", "SRC", "--out", "SRC"], "one lies in the other"),
        (["--ray", "local", "--src", "SRC", "--out", "SRC/a/out"], "one lies in the other"),
        (["--ray", "local", "--src", "SRC", "--out", "FULL"], "is not empty"),
        (["--ray", "local", "--src", "SRC", "--out", "OTHER"], "holds results of /elsewhere"),
    ],
)
def test_bad_input_is_refused_in_one_line(src, tmp_path, capsys, given, words):
    for name in ("NONE", "FULL", "OTHER"):
        (tmp_path / name).mkdir()
    (tmp_path / "FULL" / "file").touch()
    (tmp_path / "OTHER" / cluster_manifest.CLAIM).write_text('{"src": "/elsewhere"}')
    places = {"SRC": src} | {name: tmp_path / name for name in ("NONE", "FULL", "OTHER")}
    for name, place in places.items():
        given = [text.replace(name, str(place)) for text in given]
    out = [] if "--out" in given else ["--out", str(tmp_path / "out")]
    assert edit.main([*given, *out, "--attribute", "smiling=1"]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(src, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    given = ["--ray", "local", "--src", str(src), "--out", str(tmp_path / "out")]
    assert edit.main([*given, "--attribute", "smiling=1"]) == 2
    assert "pip install 'diffcam_jax[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--src", "a"], ["--out", "s3://bucket/out", "a.jpg"]])
def test_places_without_a_cluster_are_refused(capsys, given):
    with pytest.raises(SystemExit) as ended:
        edit.main([*given, "--attribute", "smiling=1"])
    assert ended.value.code == 2 and "add --ray local" in capsys.readouterr().err
