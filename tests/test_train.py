"""The Diff-CAM trainer and the entry point: optimiser, learning, files, and messages."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.diffcam_mobile import get_config
from diffcam_jax.command.workdir import check_config, write_config
from diffcam_jax.data.augment import AugmentConfig
from diffcam_jax.editing.checkpoints import from_checkpoints
from diffcam_jax.editing.classifier import load_classifier
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.train import report, settings
from diffcam_jax.train.checkpoint import Checkpoints
from diffcam_jax.train.devices import Devices
from diffcam_jax.train.diffcam import NAME, make_optimiser, make_source, make_step, sample_logits
from diffcam_jax.train.loop import fit
from diffcam_jax.train.report import Report
from diffcam_jax.train.state import Net, TrainState
from diffcam_jax.train.trainer import Phase, Trainer
from tests.random_variables import random_variables

ROOT = pathlib.Path(__file__).parent.parent
NAMES = ("left", "right", "yaw")
MODEL = DiffClassifier(depth=18, width=4, num_classes=3, split=1, strides=(1, 2, 2, 1))


class Squares:
    """Pairs that differ by a bright square, whose place is the class, as a function of the step."""

    held_out = {}

    def __getitem__(self, step):
        rng = np.random.default_rng(step)
        label = rng.integers(0, 3, 8).astype(np.int32)
        before = rng.integers(0, 128, (8, 32, 32, 3), np.uint8)
        after = before.copy()
        for i, c in enumerate(label):
            after[i, 4 + 8 * c : 12 + 8 * c, 8:24] += 100
        return {"inverted": before, "edited": after, "label": label}


def squares_trainer():
    optimiser = make_optimiser(1e-2, steps=60, warmup=2, weight_decay=0.01)
    step = make_step(
        MODEL,
        optimiser,
        NAMES,
        augmentation=AugmentConfig(shift=1, occlude=0.1),
        label_smoothing=0.05,
    )
    blank = jnp.zeros((1, 32, 32, 3))
    variables = random_variables(MODEL, blank, blank)

    def create():
        return TrainState.create({NAME: Net.create(variables, optimiser)}, seed=3)

    grey = {"grey": np.full((4, 6, 3), 128, np.uint8)}
    return Trainer(
        create,
        (Phase(NAME, step),),
        lambda s: grey,
        lambda s: {"steps": int(s.step)},
        lambda s, p: None,
        "",
    )


def test_it_learns_and_says_so(tmp_path):
    trainer, devices = squares_trainer(), Devices(1)
    with Checkpoints(tmp_path / "checkpoints", 100) as checkpoints, Report(tmp_path, 0, 60) as r:
        state = devices.replicate(trainer.create())
        options = {"log_every": 1, "eval_every": 50, "sample_every": 25}
        state = fit(
            trainer,
            state,
            Squares(),
            60,
            devices=devices,
            checkpoints=checkpoints,
            report=r,
            **options,
        )
        checkpoints.wait()
        assert checkpoints.latest == 60
    assert int(state.step) == 60
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "classifier/loss" in line] == list(range(1, 61))
    assert [line["eval/steps"] for line in lines if "eval/steps" in line] == [50, 60]
    assert (
        np.mean(
            [line["classifier/accuracy"] for line in lines[-13:] if "classifier/accuracy" in line]
        )
        > 0.9
    )
    assert all(line["run/steps_per_second"] > 0 for line in lines if "run/skipped" in line)
    pictures = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert pictures == ["grey_000025.png", "grey_000050.png", "grey_000060.png"]
    (events,) = tmp_path.glob("events.*")
    assert b"classifier/loss" in events.read_bytes() and b"grey" in events.read_bytes()


def test_lines_of_a_killed_run_beyond_its_checkpoint_are_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 5, "a": 1}\n{"step": 6, "a": 2}\n{"step": 7, "tra'
    )
    with Report(tmp_path, 5, 60) as r:
        r.scalars(6, {"a": float("inf")})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["a"]) for line in lines] == [(5, 1), (6, None)]


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


def test_pairs_of_several_processes_make_up_the_batch_of_one(tmp_path):
    samples = np.random.default_rng(0).integers(0, 256, (16, 4, 8, 8, 3), np.uint8)
    np.save(tmp_path / "00000.npy", samples)
    (tmp_path / "index.json").write_text(json.dumps({"classes": NAMES, "recipe": {"size": 8}}))
    config = get_config("debug")
    config.data.source, config.data.folder, config.eval_size = "cached", str(tmp_path), 3
    config.model.network = "resnet"
    whole = make_source(config, 8)
    np.testing.assert_array_equal(whole.held_out["samples"], samples[:3])
    parts = [make_source(config, 2, process, 4)[3] for process in range(4)]
    assert whole.recipe == {"size": 8} and whole[3]["inverted"].shape == (8, 8, 8, 3)
    for name, array in whole[3].items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


def test_absent_pairs_are_one_clear_line(tmp_path):
    config = get_config("debug")
    config.data.source, config.data.folder = "cached", str(tmp_path / "x")
    with pytest.raises(UserError, match="no pairs in"):
        make_source(config, 4)
    config.data.source = "folder"
    with pytest.raises(UserError, match="allowed for this trainer are cached and online"):
        make_source(config, 4)


def test_pictures_of_a_batch_as_a_grid(tmp_path):
    picture = np.full((8, 8, 3), 100, np.uint8)
    batch = {
        "image": np.stack([picture] * 9),
        "code": np.zeros((9, 3), np.float32),
        "target": np.stack([picture] * 9),
    }
    sheet = report.batch_grid(batch)
    assert sheet.shape == (26 + 8 * (128 + 6), 2 * (128 + 6) + 6, 3)
    assert report.batch_grid({"code": batch["code"]}) is None
    report.save_picture(tmp_path / "new/g.png", sheet)
    with report.Image.open(tmp_path / "new/g.png") as read:
        np.testing.assert_array_equal(read, sheet)


def common(**fields):
    return ConfigDict({**get_config("debug").to_dict(), **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "config.batch_size=0: give a whole number, 1 or more"),
        ({"steps": "ten"}, "config.steps='ten': give a whole number, 1 or more"),
        ({"trainer": "difcam"}, "config.trainer='difcam' is unknown; did you mean diffcam?"),
        ({"trainer": "qqqq"}, "config.trainer='qqqq' is unknown; choose from stylegan2, diffcam"),
        ({"precision": "float8"}, "config.precision='float8': give float32"),
    ],
)
def test_a_config_that_makes_no_sense_is_one_clear_line(fields, message):
    settings.check(common())
    with pytest.raises(UserError) as refused:
        settings.check(common(**fields))
    assert str(refused.value).startswith(message)
    config = common()
    del config.keep
    with pytest.raises(UserError, match="has no field keep"):
        settings.check(config)


def test_a_run_goes_on_with_the_next_stage_of_its_recipe_only(tmp_path):
    stages = [get_config(f"stage{number}").to_dict() for number in (1, 2, 3)]
    assert [stage["steps"] for stage in stages] == [700, 1000, 2300]
    write_config(tmp_path, stages[0])
    for stage in stages[1:]:
        check_config(tmp_path, stage)
        write_config(tmp_path, stage)
    for other in (stages[1], get_config().to_dict(), {**stages[2], "seed": 1}):
        with pytest.raises(UserError, match="holds a run with another configuration"):
            check_config(tmp_path, other)
    last = {name: value for name, value in stages[2].items() if name != "stage"}
    assert last == get_config().to_dict()


def python(*arguments):
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280, env=env
    )


def test_a_wrong_flag_is_one_clear_line():
    cases = {
        "--config.batch_sze=3": "unknown field config.batch_sze; did you mean batch_size?",
        "--config.data.sizee=3": "unknown field config.data.sizee; did you mean size?",
        "--config.steps=abc": "flag --config.steps=abc: invalid literal",
        "--config=configs/none.py": "the config file fails: [Errno 2] No such file or directory: "
        "'configs/none.py'",
        "--config=configs/diffcam_mobile.py:foo": "the config file fails: ValueError: mode "
        "'foo': allowed are stage1, stage2, stage3, paper, debug",
        "--wrkdir=x": "Unknown command line flag 'wrkdir'. Did you mean: workdir",
    }
    code = (
        "import sys\n"
        "from diffcam_jax.programs import train\n"
        "train.define_flags()\n"
        "for flag in list(sys.argv[1:]):\n"
        "    sys.argv = ['train.py', '--config=configs/diffcam_mobile.py', flag]  # where config "
        "flags look as well\n"
        "    try: train.parse(sys.argv); print('accepted')\n"
        "    except SystemExit as end: print(end.code)\n"
    )
    done = python("-c", code, *cases)
    assert done.stdout.split() == ["2"] * len(cases), done.stderr
    for line, expected in zip(done.stderr.strip().splitlines(), cases.values(), strict=True):
        assert line.startswith(f"error: {expected}")


def test_entry_point_at_debug_size(tmp_path):
    def train(*arguments):
        base = [
            "--config",
            "configs/diffcam_mobile.py:debug",
            "--config.data.size=32",
            "--config.batch_size=2",
        ]
        return python("train.py", *base, "--workdir", str(tmp_path / "run"), *arguments)

    dry = train("--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert (
        '"batch_size": 2' in dry.stdout and "785" in dry.stdout and "MB between steps" in dry.stdout
    )
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        ".lock"
    }  # a batch of features is nothing to look at

    done = train()
    assert done.returncode == 0, done.stderr
    assert (
        "4 steps (4 now" in done.stdout
        and f"edit.py --demo --attribute a=1 --classifier {tmp_path}/run" in done.stdout
    )
    classifier = load_classifier(tmp_path / "run/diffcam_mobile.safetensors")
    _, metadata = trees.load(tmp_path / "run/diffcam_mobile.safetensors")
    assert classifier.names == ("a", "b", "c") and metadata["steps"] == 4
    assert set(metadata["direction_sha256"]) == {"a", "b", "c"}
    assert set(metadata["accuracy"]) == {
        "accuracy",
        "accuracy/a",
        "accuracy/b",
        "accuracy/c",
    }
    assert sorted(p.name for p in (tmp_path / "run/samples").iterdir()) == [
        "masks_000002.png",
        "masks_000004.png",
    ]
    opened = from_checkpoints(classifier=tmp_path / "run").classifier
    assert opened.names == classifier.names
    assert opened.network.module == classifier.network.module
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3),
        opened.network.variables,
        classifier.network.variables,
    )

    changed = train("--config.seed=1")
    assert changed.returncode == 2 and "seed was 0 and is 1" in changed.stderr
    assert len(changed.stderr.strip().splitlines()) == 1

    before = (tmp_path / "run/model.safetensors").read_bytes()
    afresh = train("--config.seed=1", "--noresume")
    assert afresh.returncode == 0 and "4 steps (4 now" in afresh.stdout, afresh.stderr
    assert (tmp_path / "run/model.safetensors").read_bytes() != before
    assert json.loads((tmp_path / "run/run.json").read_text())["seed"] == 1
