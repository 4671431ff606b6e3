"""Surroundings that a program does not choose: devices, home folders, long names, interruptions."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.files.cache_dir import cache_dir
from diffcam_jax.files.trees import write_atomically
from diffcam_jax.programs import edit

ROOT = Path(__file__).parent.parent


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


CHECKED = """
import sys
from diffcam_jax.errors import exit_code
def run():
    import jax.numpy as jnp
    from diffcam_jax.command.device import check_device
    check_device()
    print(jnp.arange(3).dtype, jnp.ones(3).dtype)
    return 0
sys.exit(exit_code(run))
"""


def test_a_device_that_is_not_there_is_named_in_one_line():
    done = python(CHECKED, JAX_PLATFORMS="cuda")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "JAX_PLATFORMS='cuda'" in done.stderr and ".[cuda]" in done.stderr


def test_64_bits_of_another_project_change_no_network():
    done = python(CHECKED, JAX_ENABLE_X64="1", JAX_PLATFORMS="cpu")
    assert (done.returncode, done.stdout, done.stderr) == (0, "int32 float32\n", "")


def test_without_a_home_folder(monkeypatch):
    monkeypatch.setenv("DIFFCAM_HOME", "~nobody_of_this_name/cache")
    with pytest.raises(UserError, match="set DIFFCAM_HOME"):
        cache_dir()


def test_a_name_as_long_as_may_be_is_written(tmp_path):
    path = tmp_path / ("é" * 127 + "x")
    write_atomically(path, b"content")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(path.name, b"content")]


@pytest.mark.parametrize("flag", ["photo", "--mask", "--landmarks", "--generator", "--directions"])
def test_names_that_no_system_has_are_one_line(tmp_path, capsys, flag):
    Image.new("RGB", (80, 80)).save(tmp_path / "a.png")
    name = "a" * 300 + ".png"
    photo, more = (name, []) if flag == "photo" else (str(tmp_path / "a.png"), [flag, name])
    out = ["--out", str(tmp_path / "out")]
    assert edit.main([photo, "--attribute", "smiling=1", *more, *out]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Traceback" not in told and "aaaa" in told


def test_a_result_whose_name_would_be_too_long_is_refused_at_once(tmp_path, capsys):
    photo = tmp_path / ("a" * 251 + ".jpg")
    Image.new("RGB", (80, 80)).save(photo)
    out = tmp_path / "out"
    assert edit.main([str(photo), "--attribute", "smiling=1", "--out", str(out)]) == 2
    assert "too long" in capsys.readouterr().err and list(out.iterdir()) == []


def test_files_that_the_system_refuses_are_one_line(capsys, tmp_path):
    def open_it() -> int:
        (tmp_path / "missing" / "file").read_bytes()
        return 0

    assert exit_code(open_it) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "No such file" in told and told.count("\n") == 1


def test_ctrl_c_during_imports_is_one_line():
    code = "import sys\nfrom diffcam_jax.programs import edit\n"
    code += "print('up', flush=True)\nsys.exit(edit.main(['--demo', '--attribute', 'smiling=1']))"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "up\n"
        time.sleep(0.3)  # by now it imports what an edit needs, which takes seconds
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told == "stopped; run the same command again to continue\n"


def test_who_reads_the_output_may_stop_early():
    code = "from diffcam_jax.errors import exit_code; exit(exit_code(lambda: print('x' * 10**6)))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as process:
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (1, b"")
