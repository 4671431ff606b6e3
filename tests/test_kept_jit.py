"""Programs that are kept between processes: found again, and made anew where they do not fit."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.command import kept_jit as kept
from diffcam_jax.command.kept_jit import kept_jit

ROOT = Path(__file__).parent.parent
PROGRAM = """
import dataclasses, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from diffcam_jax.command import kept_jit as kept

@dataclasses.dataclass(frozen=True)
class Choice:
    power: int

class Nameless:
    pass

traced = []

@kept.kept_jit(static_argnames=("choice", "what"), donate_argnames="state")
def grow(state, tree, choice, what=None, shift=1.0):
    traced.append(1)
    return state * tree["factor"] ** choice.power + shift, (tree["added"] + choice.power,)

kept.keep_programs(Path(sys.argv[1]))
power = int(sys.argv[2])
what = Nameless() if "nameless" in sys.argv else None
for _ in range(2):
    state = jnp.arange(3.0)
    tree = {"factor": np.float32(2), "added": jnp.ones(2, jnp.int32)}
    grown, (added,) = grow(state, tree, Choice(power), what, shift=0.5)
    np.testing.assert_array_equal(grown, np.arange(3) * 2.0**power + 0.5)
    np.testing.assert_array_equal(added, [1 + power] * 2)
    assert state.is_deleted() and grown.dtype == jnp.float32
print(len(traced))
"""


def run(folder: Path, power: int, *more: str, **environment: str) -> tuple[int, str]:
    """How often a new process traces the function, and what it writes to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(power), *more],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout), done.stderr


def traced(folder: Path, power: int = 2, *more: str, **environment: str) -> int:
    """How often a new process, which has nothing to say, traces the function."""
    times, told = run(folder, power, *more, **environment)
    assert told == ""
    return times


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.program"))


def test_a_second_process_traces_nothing_and_says_the_same(tmp_path):
    assert [traced(tmp_path) for _ in range(2)] == [1, 0]
    assert len(entries(tmp_path)) == 1
    assert traced(tmp_path, 3) == 1
    assert len(entries(tmp_path)) == 2 and traced(tmp_path) == 0


@pytest.mark.parametrize(
    "damage",
    [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:]],
    ids=["empty", "half", "one bit"],
)
def test_a_damaged_program_is_made_anew(tmp_path, damage):
    assert traced(tmp_path) == 1
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert [traced(tmp_path) for _ in range(2)] == [1, 0]
    assert len(entry.read_bytes()) > len(whole) / 2


def test_other_surroundings_have_programs_of_their_own(tmp_path):
    assert traced(tmp_path) == 1
    (mine,) = tmp_path.iterdir()
    for age in range(1, 6):
        (tmp_path / f"older_{age}").mkdir()
        os.utime(tmp_path / f"older_{age}", (1e9 - age, 1e9 - age))
    assert traced(tmp_path, XLA_FLAGS="--xla_cpu_enable_fast_math=false") == 1
    # The oldest are gone by now.
    found = {folder.name for folder in tmp_path.iterdir()}
    assert len(found) == 4 and {mine.name, "older_1", "older_2"} < found
    assert traced(tmp_path) == 0


def test_what_cannot_be_told_is_not_kept(tmp_path):
    assert [traced(tmp_path, 2, "nameless") for _ in range(2)] == [1, 1]
    assert not entries(tmp_path)


def test_a_folder_that_cannot_be_written_to_costs_time_and_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for _ in range(2):
        times, told = run(tmp_path / "file" / "programs", 2)
        assert times == 1 and told.count("\n") == 1 and "programs are not kept" in told


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_programs", kept.Programs(tmp_path))
    return tmp_path


@kept_jit(static_argnames="power")
def raised(x, power):
    return x**power


def test_within_other_functions_it_is_jit(keeping):
    x = jnp.arange(1.0, 4.0)
    np.testing.assert_allclose(jax.jit(lambda x: raised(x, 3) + 1)(x), x**3 + 1)
    np.testing.assert_allclose(jax.grad(lambda x: raised(x, power=3).sum())(x), 3 * x**2)
    np.testing.assert_allclose(jax.vmap(lambda x: raised(x, 2))(x), x**2)
    assert not entries(keeping)
    np.testing.assert_allclose(raised(x, 2), x**2)
    assert len(entries(keeping)) == 1


def test_shapes_and_types_are_told_apart(keeping):
    @kept_jit(static_argnames="power")
    def raised(x, power):
        return x**power

    given = (jnp.arange(3), jnp.arange(3.0), np.arange(4, dtype=np.float32), 2.0, 2)
    for x in given * 2:
        found, wanted = raised(x, 2), jnp.asarray(x) ** 2
        assert found.dtype == wanted.dtype and (found == wanted).all()
    assert len(entries(keeping)) == len(given)


def test_arguments_of_the_function_are_checked_as_usual(keeping):
    for wrong in ((), (1, 2, 3)):
        with pytest.raises(TypeError):
            raised(*wrong)


def test_threads_share_a_program(keeping):
    @kept_jit
    def squared(x):
        return x**2

    results = []
    x = jnp.arange(5.0)
    threads = [threading.Thread(target=lambda: results.append(squared(x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all((r == x**2).all() for r in results)
    assert len(entries(keeping)) == 1
