"""Compiled programs are kept between processes, whatever happens to the folder that keeps them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import jax, jax.numpy as jnp
from diffcam_jax.command.compilation import keep_compiled_programs
keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
@jax.jit
def triple(x):
    return 3 * x + jnp.sin(x) @ jnp.cos(x).T
print(float(triple(jnp.zeros((64, 64))).sum()), end=" ")
print(sum(event.endswith("/cache_hits") for event in hits) > 0)
"""


def run(home: Path, cwd: Path = ROOT) -> tuple[bool, str]:
    """Whether an entry was found, and what was written to stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"DIFFCAM_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    value, hit = done.stdout.split()
    assert float(value) == 0.0
    return hit == "True", done.stderr


def entries(home: Path) -> list[Path]:
    return sorted((home / "compiled").glob("*-cache"))


@pytest.mark.parametrize("left", [0, 10, 0.5], ids=["empty", "ten bytes", "half"])
def test_a_damaged_entry_is_made_anew(tmp_path, left):
    assert run(tmp_path) == (False, "")
    assert run(tmp_path) == (True, "")
    whole = {path: path.read_bytes() for path in entries(tmp_path)}
    for path, content in whole.items():
        path.write_bytes(content[: int(left if left >= 1 else left * len(content))])
    assert run(tmp_path) == (False, "")
    assert all(path.stat().st_size > 100 for path in entries(tmp_path))
    assert run(tmp_path) == (True, "")


def test_another_spelling_of_the_folder_finds_the_entries(tmp_path):
    assert run(tmp_path / "home") == (False, "")
    assert run(Path("home"), cwd=tmp_path) == (True, "")
    (tmp_path / "home").rename(tmp_path / "moved")
    assert run(tmp_path / "moved") == (True, "")


def test_a_folder_that_cannot_be_written_to_costs_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    found, told = run(tmp_path / "file" / "home")
    assert not found and told.count("\n") == 1
    assert "compiled programs are not kept" in told and "DIFFCAM_HOME" in told


def test_a_folder_that_anyone_may_write_to_is_not_read(tmp_path):
    """Entries are machine code."""
    assert run(tmp_path) == (False, "")
    (tmp_path / "compiled").chmod(0o777)
    found, told = run(tmp_path)
    assert not found and told.count("\n") == 1 and "anyone may write to it" in told
