"""Training of a conditional flow: known densities, estimates of the trace, resuming, the folder."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.styleflow import get_config
from diffcam_jax.directions.flows import load_flow
from diffcam_jax.errors import UserError
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import StyleFlow, exact_trace, flow, log_likelihood
from diffcam_jax.train import styleflow, styleflow_codes
from diffcam_jax.train.styleflow_codes import Frame, ScoredCodes
from tests.random_variables import random_variables
from tests.tiny_run import go

# Codes of six numbers whose mean follows two scores; the scatter is the same everywhere.
SIZE, SCATTER = 6, 0.5
SLOPES = np.array([[1.0, 0.0, -0.5, 0.0, 0.0, 2.0], [0.0, 1.5, 0.0, 0.0, 0.5, 0.0]], np.float32)
AROUND, SPREAD = np.array([3.0, -20.0], np.float32), np.array([0.5, 4.0], np.float32)


def known_codes(batch_size=32, process=0, processes=1):
    rng = np.random.default_rng(0)
    normal = rng.normal(0, 1, (1088, 2)).astype(np.float32)
    codes = normal @ SLOPES + SCATTER * rng.normal(0, 1, (1088, SIZE)).astype(np.float32)
    return ScoredCodes(
        codes[:, None],
        AROUND + SPREAD * normal,
        ("red", "green"),
        Frame(np.zeros(SIZE, np.float32), None),
        64,
        batch_size,
        process,
        processes,
    )


def config(**changes):
    chosen = get_config("debug")
    chosen.update_from_flattened_dict(changes)
    return chosen


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trainer, its data, its folder, and the state after 150 steps."""
    chosen = config(steps=150, learning_rate=2e-2, weight_decay=0.0, tries=0)
    data, folder = known_codes(), tmp_path_factory.mktemp("run")
    trainer = styleflow.build(chosen, data, None)
    return trainer, data, folder, go(folder, trainer, 150, data, every=75)


def test_the_density_of_known_codes_is_learned_and_an_edit_follows_their_mean(run, tmp_path):
    """The best possible likelihood is that of the scatter, whose entropy has a formula."""
    trainer, data, _, state = run
    start, end = trainer.evaluate(trainer.create()), trainer.evaluate(state)
    entropy = 0.5 * np.log(2 * np.pi * np.e * SCATTER**2)
    assert start["nll"] > end["nll"] + 0.3 and end["score"] == -end["nll"]
    assert entropy - 0.1 < end["nll"] < entropy + 0.15
    assert end["nll_of_another_face"] > end["nll"] + 0.5
    trainer.export(state, tmp_path)
    edit = load_flow(tmp_path)["red"]
    codes = np.broadcast_to(data.held_out["code"], (64, 6, SIZE))
    scores = AROUND + SPREAD * data.held_out["condition"]
    inner = np.abs(data.held_out["condition"]).max(1) < 1
    moved = edit.moved(codes[inner], 0.5, dict(zip(("red", "green"), scores[inner].T)))
    assert edit.step == pytest.approx(SPREAD[0], rel=0.1) and edit.layers == (0, 4)
    risen = (moved - codes[inner])[:, :4].mean((0, 1)) / (0.5 * edit.step / SPREAD[0])
    np.testing.assert_allclose(risen, SLOPES[0], atol=0.25)
    np.testing.assert_array_equal(moved[:, 4:], codes[inner][:, 4:])


def test_hutchinsons_estimates_average_to_the_exact_likelihood():
    module = StyleFlow(4, (6,), 2)
    arguments = jnp.zeros((1, 1, 4)), jnp.zeros((1, 2))
    network = Network(module, random_variables(module, *arguments))
    rng = np.random.default_rng(0)
    code, condition = rng.normal(0, 1, (1, 1, 4)), rng.normal(0, 1, (1, 2))
    codes, conditions = (jnp.repeat(jnp.float32(x), 400, 0) for x in (code, condition))

    @functools.partial(jax.jit, static_argnums=0)
    def likelihood(kind, codes, conditions):
        trace = styleflow.trace_of(kind, jax.random.key(0), codes)
        return log_likelihood(*flow(network, codes, conditions, trace))[:, 0]

    assert styleflow.trace_of("exact", jax.random.key(0), codes) is exact_trace
    exact = float(likelihood("exact", codes[:1], conditions[:1])[0])
    guesses = np.asarray(likelihood("hutchinson", codes, conditions))
    error = guesses.std() / np.sqrt(len(guesses))
    assert error > 1e-4  # every code has a vector of its own
    assert abs(guesses.mean() - exact) < 4 * error


def test_a_run_goes_on_bit_for_bit(run):
    trainer, data, folder, whole = run
    shutil.rmtree(folder / "checkpoints" / "150")
    cut = go(folder, trainer, 150, data, every=75)
    assert int(cut.step) == 150
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), jax.device_get(cut))


def test_batches_are_passes_in_orders_of_their_own():
    data, halves = known_codes(32), [known_codes(16, i, 2) for i in range(2)]
    for step in (0, 31, 32):
        parts = np.concatenate([half[step]["code"] for half in halves])
        np.testing.assert_array_equal(parts, data[step]["code"])
    passes = [np.concatenate([data[32 * p + s]["code"][:, 0] for s in range(32)]) for p in (0, 1)]
    assert (passes[0] != passes[1]).any()
    np.testing.assert_array_equal(*(one[np.lexsort(one.T)] for one in passes))
    held = {tuple(row) for row in data.held_out["code"][:, 0]}
    assert len(held) == 64 and not held & {tuple(row) for row in passes[0]}
    condition = np.concatenate([data[s]["condition"] for s in range(32)])
    np.testing.assert_allclose(condition.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(condition.std(0), 1, atol=1e-4)


def test_faces_are_scored_once_and_the_folder_edits(tmp_path, monkeypatch):
    chosen = config(**{"data.folder": str(tmp_path / "scores")})
    data = styleflow.make_source(chosen, 8)
    trainer = styleflow.build(chosen, data, None)
    state = trainer.create()
    assert trainer.samples(state)["edits"].dtype == np.uint8
    written = trainer.export(state, tmp_path / "run")
    assert written["edits"]["attributes"]["red"]["step"] > 0 and written["measured"]["nll"] > 0
    edits = load_flow(tmp_path / "run")
    assert list(edits) == ["red"] and edits["red"].conditions == ("red", "green")
    assert edits["red"].fitted(6, 32).method == "StyleFlow on 48 faces (seed 1)"

    def never(*_):
        raise AssertionError("a score was computed again")

    generator, scorer = styleflow_codes.open_scorer(chosen)
    monkeypatch.setattr(
        styleflow_codes, "open_scorer", lambda _: (generator, scorer._replace(score=never))
    )
    again = styleflow.make_source(chosen, 8)
    np.testing.assert_array_equal(again[3]["code"], data[3]["code"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"conditions": ("red", "gren")}, "no scorer is called 'gren'; did you mean green"),
        ({"model.axes": 33}, "model.axes=33: a code of this generator has 32 numbers"),
        ({"eval_size": 45}, "only 48 faces have all scores: too few for config.eval_size=45"),
        (
            {"edits": (("blue", "blue", 0, 4, 1.0),)},
            "blue raises blue, add it to",
        ),
        ({"edits": (("red", "red", 2, 9, 1.0),)}, "rows 2 to 9 of red are not in 0 to 6"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path_factory, changes, words):
    scores = str(tmp_path_factory.getbasetemp() / "styleflow_scores")
    chosen = config(**changes, **{"data.folder": scores})
    with pytest.raises(UserError, match=words):
        styleflow.build(chosen, styleflow.make_source(chosen, 8), None)


def test_a_score_that_never_changes_is_told():
    codes = np.random.default_rng(0).normal(0, 1, (20, 1, 3)).astype(np.float32)
    frame = Frame(np.zeros(3, np.float32), None)
    with pytest.raises(UserError, match="all faces have the same hat"):
        ScoredCodes(codes, np.ones((20, 1), np.float32), ("hat",), frame, 4, 4)
