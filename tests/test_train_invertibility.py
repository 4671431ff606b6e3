"""Training of invertibility decomposition: data, stages, losses by hand, gradients, learning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import invertibility, invertibility_mobile
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.losses import networks as perceptual
from diffcam_jax.ops.image import resize
from diffcam_jax.train import invertibility as trainer_of
from diffcam_jax.train.invertibility_losses import Losses, cross_entropy, dice, truth_loss
from diffcam_jax.train.invertibility_passes import BatchDecomposer, Pass, load_edits, load_networks
from diffcam_jax.train.invertibility_start import COARSEST, FINER, canonical
from diffcam_jax.train.trainer import Phase
from tests.fast import fast


def config(**overrides):
    chosen = invertibility_mobile.get_config("debug")
    chosen.update_from_flattened_dict(
        {"loss.adversarial": 0.0, "stages": ((0, 16, 32),), **overrides}
    )
    return chosen


def made(chosen, count=2):
    data = trainer_of.make_source(chosen, count)
    return trainer_of.build(chosen, data, None), data


@pytest.fixture(scope="module")
def run():
    """A trainer, its state before and after learning three pictures, and every step's numbers."""
    chosen = config(
        **{
            "optimiser.learning_rate": 1e-2,
            "steps": 60,
            "eval_size": 3,
            "nearest": 1.0,
            "edits": 0.0,
        }
    )
    trainer, data = made(chosen, 3)
    before = trainer.create()
    step = fast(lambda state, batch: trainer.phases[0].step(state, batch, state.phase_key(0)))
    state, history = before, []
    for _ in range(chosen.steps):
        state, numbers = step(state, data.held_out)
        state = state.replace(step=state.step + 1)
        history.append({name: float(value) for name, value in numbers.items()})
    return trainer, before, state, history, data


# ------------------------------------------------------------------------------------------------
# data
def test_objects_and_their_masks_go_together():
    chosen = config(**{"data.photographic.objects": 1.0})
    for knob in ("align", "light", "blur", "noise", "compress"):
        chosen.data.photographic[knob] = 0.0
    data = trainer_of.make_source(chosen, 8)
    batch = data[0]
    assert batch["mask"].shape == (8, 32, 32) and batch["mask"].dtype == np.uint8
    changed = (batch["image"] != batch["target"]).any(-1)
    near = (
        np.asarray(resize(jnp.asarray(batch["mask"], jnp.float32)[..., None], (32, 32)))[..., 0] > 0
    )
    grown = np.stack([_grown(mask) for mask in near])
    assert not changed[~grown].any() and changed[near].mean() > 0.8
    np.testing.assert_array_equal(batch["mask"], data[0]["mask"])


def _grown(mask):
    padded = np.pad(mask, 1)
    return np.max([padded[i : i + 32, j : j + 32] for i in range(3) for j in range(3)], 0)


# ------------------------------------------------------------------------------------------------
# stages
def test_stages_follow_one_another():
    chosen = config(stages=((0, 8, 16), (5, 16, 32)))
    assert trainer_of.stages_of(chosen, (8, 16), 32) == [(0, 5, 8, 16), (5, None, 16, 32)]
    trainer, _ = made(chosen)
    assert [[phase.due(step) for step in (0, 4, 5, 99)] for phase in trainer.phases] == [
        [True, True, False, False],
        [False, False, True, True],
    ]
    lazy = Phase("p", lambda *_: None, every=4, since=3, until=9)
    assert [step for step in range(20) if lazy.due(step)] == [4, 8]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stages": ((3, 8, 32),)}, "steps begin at 0 and rise"),
        ({"stages": ((0, 8, 32), (4, 16, 32), (4, 16, 32))}, "steps begin at 0 and rise"),
        ({"stages": ((0, 64, 64),)}, "level 64, pictures of 64 pixels; levels are"),
        ({"stages": ((0, 16, 8),)}, "level 16, pictures of 8 pixels"),
        ({"stages": ((0, 16, 64),)}, "up to 32"),
        ({"areas": (0.1,)}, "config.areas has 1 limits; give 3"),
        ({"adv_grad": "off"}, "choose on or official"),
        ({"model.normalised": True}, "config.correlated is for"),
        ({"loss.adversarial": 1.0, "stages": ((0, 8, 16), (1, 16, 32))}, "pictures of one size"),
    ],
)
def test_what_cannot_be_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        made(config(**overrides))


def test_the_release_in_numbers():
    """Spec C.4."""
    chosen = invertibility.get_config()
    assert [stage[:2] for stage in chosen.stages] == [
        (0, 32),
        (2000, 64),
        (6000, 128),
        (10_000, 256),
    ]
    assert dict(chosen.loss) == {
        "pixel": 1.0,
        "identity": 0.1,
        "perceptual": 1.0,
        "style": 50.0,
        "adversarial": 0.5,
        "area": 5.0,
        "binary": 0.2,
        "truth": 0.0,
    }
    assert (
        chosen.ema == pytest.approx(0.5 ** (32 / 10_000)) and chosen.optimiser.learning_rate == 2e-5
    )
    other = invertibility.get_config("feature_style")
    assert (other.areas[0], other.steps, other.model.cycles) == (0.4, 700_000, 3)
    rate = trainer_of.make_optimiser(chosen.optimiser).init({"w": jnp.zeros(1)})
    assert jax.tree.leaves(rate)


# ------------------------------------------------------------------------------------------------
# losses
def test_losses_of_known_masks_by_hand():
    rng = np.random.default_rng(0)
    mask, truth = (rng.uniform(0.01, 0.99, (2, 8, 8)).astype(np.float32) for _ in range(2))
    entropy = -(truth * np.log(mask) + (1 - truth) * np.log(1 - mask)).mean((1, 2))
    np.testing.assert_allclose(
        cross_entropy(jnp.asarray(mask), jnp.asarray(truth)), entropy, rtol=1e-5
    )
    overlap = 1 - (2 * (mask * truth).sum() + 1) / (mask.sum() + truth.sum() + 1)
    assert float(dice(jnp.asarray(mask), jnp.asarray(truth))) == pytest.approx(overlap, rel=1e-5)
    assert float(dice(jnp.zeros((1, 4, 4)), jnp.zeros((1, 4, 4)))) == 0
    small = truth.reshape(2, 4, 2, 4, 2).mean((2, 4))
    level = rng.uniform(0.01, 0.99, (2, 4, 4)).astype(np.float32)
    own = -(small * np.log(level) + (1 - small) * np.log(1 - level)).mean()
    found = truth_loss([jnp.asarray(level), jnp.asarray(mask)], jnp.asarray(truth))
    assert float(found) == pytest.approx(entropy.mean() + overlap + own, rel=1e-4)
    exact = np.zeros((1, 4, 4), np.float32)
    assert np.isfinite(cross_entropy(jnp.asarray(exact), jnp.asarray(1 - exact))).all()


def test_losses_of_features_by_hand():
    rng = np.random.default_rng(1)
    ours, theirs = (
        [jnp.asarray(rng.standard_normal((2, s, s, c)), jnp.float32) for s, c in ((4, 3), (2, 5))]
        for _ in range(2)
    )
    plain = sum(w * np.abs(a - b).mean((1, 2, 3)) for w, a, b in zip((0.1, 1.0), ours, theirs))
    np.testing.assert_allclose(perceptual.absolute(ours, theirs, (0.1, 1.0)), plain, rtol=1e-5)
    gram = np.array(
        [[(x[..., i] * x[..., j]).sum() for j in range(3)] for x in ours[0] for i in range(3)]
    ).reshape(2, 3, 3)
    np.testing.assert_allclose(
        perceptual.gram(jnp.asarray(ours[0])), gram / 48, rtol=1e-4, atol=1e-6
    )
    grams = [
        [np.asarray(perceptual.gram(jnp.asarray(x))) for x in group] for group in (ours, theirs)
    ]
    styled = sum(w * np.abs(a - b).mean((1, 2)) for w, a, b in zip((0.1, 1.0), *grams))
    np.testing.assert_allclose(perceptual.style(ours, theirs, (0.1, 1.0)), styled, rtol=1e-5)


def test_an_edited_picture_need_not_be_the_photograph():
    chosen = config(**{"loss.binary": 0.0, "loss.truth": 0.0, "loss.pixel": 2.0, "loss.area": 5.0})
    wanted, image = (
        jnp.zeros((2, 8, 8, 3)),
        jnp.stack([jnp.full((8, 8, 3), 0.5), jnp.full((8, 8, 3), 9.0)]),
    )
    masks = [jnp.full((2, 4, 4), m) for m in (0.5, 0.1)] + [jnp.full((2, 8, 8), 0.4)]
    found = Pass(wanted, image, image, masks, None, jnp.asarray([0.0, 1.0]))
    total, terms = Losses(chosen, 2)(found, {}, None)
    assert float(terms["pixel"]) == pytest.approx(0.25)
    assert float(terms["area"]) == pytest.approx((0.5 - 0.3) + (0.4 - 0.2), rel=1e-5)
    assert float(total) == pytest.approx(2 * 0.25 + 5 * 0.4, rel=1e-5)


@pytest.mark.weights
def test_networks_that_compare_pictures_are_frozen_and_equal_pictures_cost_nothing():
    chosen = config(**{"loss.identity": 0.1, "loss.perceptual": 1.0, "loss.style": 50.0})
    terms = Losses(chosen, 2)
    assert set(terms.frozen) == {"identity", "perceptual"}
    picture = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)), jnp.float32)
    masks = [jnp.zeros((1, 8, 8)), jnp.zeros((1, 16, 16)), jnp.zeros((1, 64, 64))]

    @fast
    def values(image, frozen):
        return terms(Pass(picture, image, image, masks, None, jnp.zeros(1)), frozen, None)[1]

    same, other = (values(image, terms.frozen) for image in (picture, picture[:, ::-1]))
    for name in ("identity", "perceptual", "style"):
        assert abs(float(same[name])) < 1e-4 < 1e-3 < float(other[name])


# ------------------------------------------------------------------------------------------------
# passes
def test_codes_lie_between_the_known_one_and_the_encoders():
    chosen = config(nearest=0.3, edits=0.5, strengths=(1.0, 1.0))
    networks = load_networks(chosen).decomposer
    edits = load_edits(chosen, networks.generator.module)
    decomposer = BatchDecomposer(chosen, networks, edits)
    rows = networks.generator.module.num_styles
    codes, known = jnp.ones((400, rows, 8)), jnp.zeros((400, rows, 8))
    varied, edited = decomposer._varied(codes, known, jax.random.key(0))
    plain = np.asarray(varied[edited == 0])
    assert 0.4 < float(edited.mean()) < 0.6
    assert (
        np.ptp(plain, axis=(1, 2)).max() < 1e-6
        and plain.min() > 0.3
        and plain.max() < 1
        and np.ptp(plain) > 0.5
    )
    moved = np.asarray(varied[edited == 1])
    from_either = [np.ptp(moved - np.asarray(edit[:rows]), axis=(1, 2)) for edit in edits]
    np.testing.assert_allclose(np.min(from_either, axis=0), 0, atol=1e-5)
    only, none = BatchDecomposer(config(edits=0.0), networks, None)._varied(
        codes, None, jax.random.key(0)
    )
    np.testing.assert_array_equal(only, codes)
    assert not none.any()


def test_the_discriminators_opinion_reaches_the_aligner_unless_it_is_as_released():
    norms = {}
    for kind in ("on", "official"):
        quiet = ("pixel", "binary", "truth", "area")
        small = {"stages": ((0, 8, 8),), "correlated": 0, "edits": 0.0}
        losses = {**{f"loss.{name}": 0.0 for name in quiet}, "loss.adversarial": 0.5}
        chosen = config(adv_grad=kind, **small, **losses)
        trainer, data = made(chosen)
        state = trainer.create()
        judge, ours = (fast(phase.step) for phase in trainer.phases)
        _, numbers = ours(state, data.held_out, jax.random.key(0))
        norms[kind] = float(numbers["grad_norm"])
        assert float(numbers["loss"]) == pytest.approx(0.5 * float(numbers["adversarial"]))
    assert norms["official"] == 0 < norms["on"]
    after, numbers = judge(state, data.held_out, jax.random.key(0))
    assert set(numbers) == {"loss", "real", "fake", "grad_norm"} and float(numbers["grad_norm"]) > 0
    jax.tree.map(
        np.testing.assert_array_equal, after.nets["aligner"].params, state.nets["aligner"].params
    )


# ------------------------------------------------------------------------------------------------
# the start
def test_what_two_maps_share_is_found():
    """Two sources behind 6 and 5 channels of mixtures, each with noise of its own."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((4000, 2))
    x = np.concatenate([shared, rng.standard_normal((4000, 4))], 1) @ rng.standard_normal((6, 6))
    y = np.concatenate([shared, rng.standard_normal((4000, 3))], 1) @ rng.standard_normal((5, 5))
    a, b = canonical(
        *(m.astype(np.float32) for m in (x.T @ x / 4000, y.T @ y / 4000, x.T @ y / 4000))
    )
    assert a.shape == (6, 5) and b.shape == (5, 5)
    found = np.abs(np.corrcoef((x @ a).T, (y @ b).T)[:5, 5:])
    assert found[0, 0] > 0.95 and found[1, 1] > 0.95 and found[2:, 2:].max() < 0.1
    explained = np.linalg.lstsq(x @ a[:, :2], shared, rcond=None)[0]
    assert np.abs(x @ a[:, :2] @ explained - shared).max() < 0.5


def test_features_begin_alike_and_finer_masks_change_little(run):
    _, before, *_ = run
    params = before.nets["aligner"].params
    biases = [
        float(params[f"level_{i}"]["network"]["block_1"]["shortcut"]["bias"][2]) for i in (0, 1)
    ]
    assert biases == [COARSEST, FINER]
    other = made(config(correlated=0))[0].create().nets["aligner"].params
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, other)


# ------------------------------------------------------------------------------------------------
# training
def test_it_learns_where_objects_are(run):
    trainer, before, after, history, _ = run
    start, end = trainer.evaluate(before), trainer.evaluate(after)
    assert set(end) == {"mse", "mask", "iou", "score"} and end["score"] == end["iou"]
    assert end["iou"] > start["iou"] + 0.1
    assert np.mean([numbers["truth"] for numbers in history[-5:]]) < 0.7 * history[0]["truth"]


def test_what_is_trained(run):
    _, before, after, *_ = run
    for name in ("frozen/generator", "frozen/encoder"):
        assert before.nets[name].opt_state is None
        jax.tree.map(
            np.testing.assert_array_equal, before.nets[name].variables, after.nets[name].variables
        )
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()),
        before.nets["aligner"].params,
        after.nets["aligner"].params,
    )
    # What adds a constant to a map is taken out again by the instance norms behind it.
    still = {
        name for name, leaf in moved.items() if name.startswith("encoded") and not leaf["bias"]
    }
    assert {name for name, leaf in moved.items() if not all(jax.tree.leaves(leaf))} == still


def test_what_people_look_at_and_what_is_handed_on(run, tmp_path):
    trainer, _, state, _, data = run
    rows = trainer.samples(state)["decompositions"]
    assert rows.shape == (3 * 32, 5 * 32, 3) and rows.dtype == np.uint8
    np.testing.assert_array_equal(rows[:32, :32], data.held_out["image"][0])
    np.testing.assert_array_equal(
        rows[:32, 3 * 32 : 4 * 32, 0] > 127, data.held_out["mask"][0] > 127
    )
    content = trainer.export(state, tmp_path)
    aligner, variables = model_folder.load(tmp_path).network("aligner")
    assert tuple(aligner.sides) == (8, 16) and aligner.align_corners and not aligner.normalised
    assert len(content["generator_sha256"]) == len(content["encoder_sha256"]) == 64
    jax.tree.map(
        lambda half, whole: np.testing.assert_array_equal(half, np.asarray(whole, np.float16)),
        variables["params"],
        state.ema["aligner"],
    )
