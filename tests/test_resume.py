"""Runs that are killed, stopped, diverge or fill the disk: what they leave, and resuming."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.command.workdir import check_config, claim, write_config
from diffcam_jax.errors import UserError
from diffcam_jax.train.checkpoint import Checkpoints
from tests.tiny_run import Numbers, full_trainer, go, sgd_trainer

ROOT = Path(__file__).parent.parent
STEPS = 300


def start(folder, cache):
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "tests.tiny_run", "run", str(folder), str(STEPS)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **kept, "JAX_PLATFORMS": "cpu"}, **pipes
    )


def begun(process):
    """The step that a process starts from, as soon as it does."""
    for line in process.stdout:
        if line.startswith("begun at"):
            return int(line.split()[-1])
    raise AssertionError(f"ended with {process.wait()}")


def test_killed_five_times_and_stopped_once_a_run_ends_bit_for_bit_where_an_undisturbed_one_does(
    tmp_path,
):
    undisturbed = start(tmp_path / "whole", tmp_path / "cache")
    begun(undisturbed)
    starts = []
    for moment in range(6):
        process = start(tmp_path / "cut", tmp_path / "cache")
        starts.append(begun(process))
        time.sleep(random.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL if moment < 5 else signal.SIGTERM)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == (-signal.SIGKILL if moment < 5 else 0), output
    last = start(tmp_path / "cut", tmp_path / "cache")
    starts.append(begun(last))
    for process in (last, undisturbed):
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    assert starts[0] == 0 and starts == sorted(starts) and 0 < starts[-1] < STEPS, starts
    with np.load(tmp_path / "whole/final.npz") as whole, np.load(tmp_path / "cut/final.npz") as cut:
        assert whole.files == cut.files and len(whole.files) > 15
        assert int(whole[".step"]) == STEPS
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], cut[name], err_msg=name)
    numbers = [
        (tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "cut")
    ]
    losses = [
        [(r["step"], r["fit/loss"]) for line in run if "fit/loss" in (r := json.loads(line))]
        for run in numbers
    ]
    assert losses[0] == losses[1] and [step for step, _ in losses[0]] == list(
        range(10, STEPS + 1, 10)
    )


class Stopping(Numbers):
    def __getitem__(self, step):
        if step == 7:
            signal.raise_signal(self.signal)
        return super().__getitem__(step)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_asked_to_stop_it_saves_the_last_whole_step(tmp_path, number, code):
    data = Stopping()
    data.signal = number
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        go(tmp_path, sgd_trainer(None), 50, data, every=0)
    assert stop.value.code == code and signal.getsignal(number) == before
    with Checkpoints(tmp_path / "checkpoints", 0) as checkpoints:
        # The batch is read ahead by a thread, and the signal is looked at between two steps.
        assert 6 <= checkpoints.latest < 20
        assert int(checkpoints.restore(sgd_trainer(None).create()).step) == checkpoints.latest


def test_after_too_many_updates_that_are_not_finite_it_stops_and_names_a_good_checkpoint(tmp_path):
    with pytest.raises(UserError) as stop:
        go(tmp_path, full_trainer(None), 60, Numbers(nan_from=12), log_every=1, patience=9)
    assert "net were not finite in the last 9 updates" in str(stop.value)
    assert f"{tmp_path}/checkpoints/10 (step 10)" in str(stop.value)
    with Checkpoints(tmp_path / "checkpoints", 5) as checkpoints:
        state = checkpoints.restore(full_trainer(None).create())
    assert int(state.step) == 10 and all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_single_updates_that_are_not_finite_are_only_counted(tmp_path):
    class Gap(Numbers):
        def __getitem__(self, step):
            return Numbers(nan_from=0 if step in (3, 5) else 99)[step]

    state = go(tmp_path, sgd_trainer(None), 20, Gap(), log_every=1, patience=2, report=True)
    assert int(state.skipped) == 2 and np.isfinite(state.nets["net"].params["w"]).all()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["run/skipped"] for r in lines if "run/skipped" in r][2:7] == [0, 1, 1, 2, 2]
    assert lines[3]["fit/loss"] is None


def test_the_best_checkpoint_stays_beside_the_last_ones(tmp_path):
    scores = {2: 0.1, 4: 0.9, 6: 0.5, 8: 0.2}
    with Checkpoints(tmp_path, 2, keep=1) as checkpoints:
        for step in range(1, 9):
            checkpoints.save(step, {"a": jnp.full(3, step)}, score=scores.get(step))
    with Checkpoints(tmp_path, 2, keep=1) as checkpoints:
        assert checkpoints.best == (0.9, 4) and checkpoints.latest == 8
        np.testing.assert_array_equal(checkpoints.restore({"a": jnp.zeros(3, jnp.int32)})["a"], 8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4", "8"]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"a": jnp.zeros(3), "b": jnp.zeros(1)}, r"b is absent there and float32\[1\] here"),
        ({"a": jnp.zeros(4)}, r"a is float32\[3\] there and float32\[4\] here"),
        ({"a": jnp.zeros(3, jnp.int32)}, r"a is float32\[3\] there and int32\[3\] here"),
    ],
)
def test_checkpoint_of_another_network_is_refused(tmp_path, other, what):
    with Checkpoints(tmp_path, 1) as checkpoints:
        checkpoints.save(1, {"a": jnp.zeros(3)})
    with (
        Checkpoints(tmp_path, 1) as checkpoints,
        pytest.raises(UserError, match="another network.*" + what),
    ):
        checkpoints.restore(other)


def test_without_room_for_a_checkpoint_the_one_before_it_stays(tmp_path):
    # The kernel refuses longer files, as a full disk would; what is written does not compress.
    noise = jax.random.normal(jax.random.key(0), (200_000,))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(UserError) as stop, Checkpoints(tmp_path, 1, keep=1) as checkpoints:
        checkpoints.save(1, {"a": noise})
        checkpoints.wait()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            checkpoints.save(2, {"a": noise + 1})
            checkpoints.save(3, {"a": noise + 2})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = f"cannot save a checkpoint to {tmp_path} (File too large); make room"
    assert str(stop.value).startswith(message) and str(stop.value).endswith(
        f"{tmp_path}/1 is intact"
    )
    with Checkpoints(tmp_path, 1, keep=1) as checkpoints:
        np.testing.assert_array_equal(checkpoints.restore({"a": jnp.zeros_like(noise)})["a"], noise)
        checkpoints.save(2, {"a": noise + 1})
    assert [p.name for p in tmp_path.iterdir()] == ["2"]


def test_a_failure_at_the_very_end_is_told_as_well(tmp_path):
    noise = jax.random.normal(jax.random.key(0), (200_000,))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with (
            pytest.raises(UserError, match="there is none yet"),
            Checkpoints(tmp_path, 1) as checkpoints,
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            checkpoints.save(1, {"a": noise})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    with (
        claim(tmp_path / "run"),
        pytest.raises(UserError, match="another run is using"),
        claim(tmp_path / "run"),
    ):
        pass
    with claim(tmp_path / "run"):
        pass


def test_another_configuration_is_refused_with_the_fields_that_differ(tmp_path):
    config = {"steps": 10, "batch_size": 4, "devices": 0, "model": {"width": 8, "strides": (1, 2)}}
    check_config(tmp_path, config)  # nothing there yet
    write_config(tmp_path, config)
    check_config(tmp_path, {**config, "steps": 20, "devices": 2})
    # Fields that came with a later version are off.
    check_config(tmp_path, {**config, "classes": 0, "labels": ""})
    with pytest.raises(UserError) as refused:
        check_config(
            tmp_path,
            {**config, "batch_size": 8, "model": {"width": 16, "strides": (1, 2)}, "flip": True},
        )
    assert (
        "batch_size was 4 and is 8; flip was absent and is true; model.width was 8 and is 16"
        in str(refused.value)
    )


def test_the_next_stage_continues_a_run_with_settings_of_its_own(tmp_path):
    config = {"stage": 1, "rate": 0.1}
    write_config(tmp_path, config)
    check_config(tmp_path, {"stage": 2, "rate": 0.2})
    for other in ({"stage": 3, "rate": 0.2}, {"stage": 1, "rate": 0.2}, {"rate": 0.2}):
        with pytest.raises(UserError, match="another configuration"):
            check_config(tmp_path, other)
