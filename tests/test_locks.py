"""Locks between processes: one at a time, and none that outlives its process."""

import signal
import subprocess
import sys

import pytest

from diffcam_jax.files.locks import held

HOLD = """
import sys, time
from pathlib import Path
from diffcam_jax.files.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
WAIT = """
import sys
from pathlib import Path
from diffcam_jax.files.locks import held
with held(Path(sys.argv[1]), "somebody has it; waiting"):
    print("held")
"""


def start(code, path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes)


def test_a_lock_of_a_process_that_was_killed_is_free(tmp_path):
    path = tmp_path / "new" / "folder" / "a.lock"
    holder = start(HOLD, path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), held(path):
        pass
    waiter = start(WAIT, path)
    assert waiter.stderr.readline() == "somebody has it; waiting\n"
    assert waiter.poll() is None
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    out, err = waiter.communicate(timeout=30)
    assert (out, err, waiter.returncode) == ("held\n", "", 0)
    with held(path, "nobody has it"):
        assert path.exists()


def test_nothing_is_said_when_nobody_holds_it(tmp_path, capsys):
    with held(tmp_path / "a.lock", "somebody has it; waiting"):
        pass
    with held(tmp_path / "a.lock"):
        pass
    assert capsys.readouterr().err == ""
