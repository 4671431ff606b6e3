"""Files that are being written: what killed processes leave goes, what others are writing stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffcam_jax.files import drafts
from diffcam_jax.files.trees import replacing, write_atomically

ROOT = Path(__file__).parent.parent
WRITE = """
import sys, time
from pathlib import Path
from diffcam_jax.files.trees import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
    file.write(b" and half")
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing a file."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    call = [sys.executable, "-c", WRITE, str(tmp_path / "[a]*.bin")]
    with subprocess.Popen(call, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_goes_with_the_next_writing(writer, tmp_path):
    path, other = tmp_path / "[a]*.bin", tmp_path / "[a]*.bin.json"
    unlike, file = drafts.create(other)
    file.close()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    (draft,) = set(tmp_path.iterdir()) - {unlike}
    assert draft.read_bytes() == b"half" and draft.name.endswith(".tmp")
    write_atomically(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert set(tmp_path.iterdir()) == {path, unlike}


def test_what_another_process_is_writing_stays(writer, tmp_path):
    path = tmp_path / "[a]*.bin"
    write_atomically(path, b"ours")
    assert path.read_bytes() == b"ours" and len(list(tmp_path.iterdir())) == 2
    writer.communicate("\n")
    assert writer.returncode == 0 and path.read_bytes() == b"half and half"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writings_of_one_process_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as first, replacing(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_a_draft_that_was_taken_for_a_rest_is_begun_anew(tmp_path, monkeypatch):
    taken = []

    def take_first(file, flags):
        if not taken:
            taken.extend(tmp_path.iterdir())
            os.unlink(taken[0])

    monkeypatch.setattr(drafts.fcntl, "flock", take_first)
    write_atomically(tmp_path / "a", b"whole")
    assert len(taken) == 1
    assert (tmp_path / "a").read_bytes() == b"whole" and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_fails_leaves_nothing(tmp_path):
    write_atomically(tmp_path / "a", b"before")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert (tmp_path / "a").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
