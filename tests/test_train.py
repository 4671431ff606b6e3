"""Training: the optimiser, the step, an exact resume, learning something, and the entry point at debug size."""

import json
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffcam_jax import report
from diffcam_jax.checkpoint import Checkpoints
from diffcam_jax.data.augment import AugmentConfig
from diffcam_jax.diffcam import load_classifier
from diffcam_jax.errors import UserError
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.report import Report
from diffcam_jax.train.diffcam import make_optimiser, make_step, sample_logits
from diffcam_jax.train.loop import fit
from diffcam_jax.train.state import TrainState
from tests.random_variables import random_variables

ROOT = pathlib.Path(__file__).parent.parent
NAMES = ("left", "right", "yaw")
MODEL = DiffClassifier(depth=18, width=4, num_classes=3, split=1, strides=(1, 2, 2, 1))


class Squares:
    """Pairs that differ by a bright square whose place is the class; a pure function of the step."""

    def __getitem__(self, step):
        rng = np.random.default_rng(step)
        label = rng.integers(0, 3, 8).astype(np.int32)
        before = rng.integers(0, 128, (8, 32, 32, 3), np.uint8)
        after = before.copy()
        for i, c in enumerate(label):
            after[i, 4 + 8 * c : 12 + 8 * c, 8:24] += 100
        return {"inverted": before, "edited": after, "label": label}


OPTIMISER = make_optimiser(1e-2, steps=60, warmup=2, weight_decay=0.01)
STEP = make_step(MODEL, OPTIMISER, NAMES, augmentation=AugmentConfig(shift=1, occlude=0.1), label_smoothing=0.05)


def fresh():
    blank = jnp.zeros((1, 32, 32, 3))
    return TrainState.create(random_variables(MODEL, blank, blank), OPTIMISER, seed=3)


def norm(state):
    return {"norm": float(optax.tree.norm(state.params))}


SQUARES = Squares()


def go(state, until, folder, source=SQUARES):
    with Checkpoints(folder / "checkpoints", 100) as checkpoints:
        state = checkpoints.restore(state)
        with Report(folder, int(state.step), 60) as r:
            options = {"report": r, "checkpoints": checkpoints, "log_every": 1, "eval_every": 50}
            return fit(state, STEP, source, until, evaluate=norm, **options)


def test_resume_is_bit_identical_and_it_learns(tmp_path):
    whole = go(fresh(), 60, tmp_path / "whole")
    first = go(fresh(), 5, tmp_path / "cut")
    assert int(first.step) == 5
    lines = tmp_path / "cut/metrics.jsonl"
    lines.write_text(lines.read_text() + '{"step": 6, "train_loss": 1}\n{"step": 7, "tra')  # a killed run's tail
    resumed = go(fresh(), 60, tmp_path / "cut")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    files = [tmp_path / folder / "metrics.jsonl" for folder in ("whole", "cut")]
    runs = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    losses = [[(r["step"], r["train_loss"]) for r in run if "train_loss" in r] for run in runs]
    assert losses[0] == losses[1] and [s for s, _ in losses[0]] == list(range(1, 61))
    assert [[r["step"] for r in run if "norm" in r] for run in runs] == [[50, 60], [5, 50, 60]]
    assert np.mean([r["train_accuracy"] for r in runs[0][-12:] if "train_accuracy" in r]) > 0.9


def test_ctrl_c_saves_the_last_whole_step(tmp_path):
    class Interrupted(Squares):
        def __getitem__(self, step):
            if step == 3:
                signal.raise_signal(signal.SIGINT)
            return super().__getitem__(step)

    with pytest.raises(SystemExit) as stop:
        go(fresh(), 60, tmp_path, source=Interrupted())
    assert stop.value.code == 130
    with Checkpoints(tmp_path / "checkpoints", 100) as checkpoints:
        assert checkpoints.latest == 4 and int(checkpoints.restore(fresh()).step) == 4


def test_checkpoint_of_another_network_is_refused(tmp_path):
    with Checkpoints(tmp_path, 1) as checkpoints:
        assert checkpoints.latest is None
        checkpoints.save(1, {"a": jnp.zeros(3)})
        checkpoints.save(2, {"a": jnp.ones(3)})
        checkpoints.save(3, {"a": 2 * jnp.ones(3)})
    with Checkpoints(tmp_path, 1) as checkpoints:
        assert checkpoints.latest == 3
        np.testing.assert_array_equal(checkpoints.restore({"a": jnp.zeros(3)})["a"], 2)
        with pytest.raises(UserError, match="another network"):
            checkpoints.restore({"a": jnp.zeros(3), "b": jnp.zeros(1)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]


def test_optimiser_is_adam_with_a_cosine_and_decays_kernels_only():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    optimiser = make_optimiser(0.1, steps=10, warmup=0, weight_decay=0.5)
    state, zeros = optimiser.init(params), jax.tree.map(jnp.zeros_like, params)
    updates, state = optimiser.update(zeros, state, params)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)
    for _ in range(5):
        updates, state = optimiser.update(zeros, state, params)
    # Update 6 uses the rate after 5 of 10 steps: half way down the cosine.
    np.testing.assert_allclose(updates["kernel"], -0.05 * 0.5, rtol=1e-4)


def test_sample_logits_are_the_scores_of_each_pair():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    blank = jnp.zeros((1, 32, 32, 3))
    variables = random_variables(MODEL, blank, blank)
    images = jnp.asarray(pictures, jnp.float32) / 127.5 - 1
    before = jnp.broadcast_to(images[:1], (3, 32, 32, 3))
    expected, _ = jax.jit(MODEL.apply)(variables, before, images[1:])
    logits = jax.jit(lambda v, p: sample_logits(MODEL, v, p))(variables, jnp.asarray(pictures))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_overlay_and_grid(tmp_path):
    picture = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), np.float32)
    mask[2, 3] = 1
    drawn = report.overlay(picture, mask)
    assert (drawn[mask == 0] == 100).all() and (drawn[2, 3] != 100).any()
    report.save_grid(tmp_path / "g.png", [[picture, drawn]] * 3, ["inverted", "smiling"], cell=8)
    with report.Image.open(tmp_path / "g.png") as sheet:
        assert sheet.size == (16, 16 + 24) and sheet.getpixel((3, 20)) == (100, 100, 100)
    assert [p.name for p in tmp_path.iterdir()] == ["g.png"]


def test_entry_point_at_debug_size(tmp_path):
    def train(*arguments):
        command = [sys.executable, "train.py", "--config", "configs/diffcam_mobile.py:debug", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)

    done = train("--workdir", str(tmp_path / "run"), "--config.data.size=32", "--config.batch_size=2")
    assert done.returncode == 0, done.stderr
    classifier = load_classifier(tmp_path / "run/diffcam_mobile.safetensors")
    assert classifier.names == ("a", "b", "c") and classifier.metadata["steps"] == 4
    assert set(classifier.metadata["direction_sha256"]) == {"a", "b", "c"}
    assert (tmp_path / "run/masks_000004.png").exists() and "held-out accuracy" in done.stdout

    absent = ["--config.data.source=cached", f"--config.data.folder={tmp_path}/x"]
    missing = train("--workdir", str(tmp_path / "none"), *absent)
    assert missing.returncode == 2 and missing.stderr.strip().startswith("train.py: no pairs in")
    assert len(missing.stderr.strip().splitlines()) == 1
