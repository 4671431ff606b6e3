"""StyleGAN2's trainer: constants by formulas, phases on tiny networks, export, overfitting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import stylegan2, stylegan2_64
from diffcam_jax.data.toy import ToyPictures
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.metrics.thumbnails import thumbnail_features
from diffcam_jax.train.samples import Samples
from diffcam_jax.train.stylegan2 import (
    ADA_INTERVAL,
    adapt,
    build,
    ema_decay,
    lazy_adam,
    networks,
)
from diffcam_jax.train.stylegan2_losses import Losses
from tests.fast import fast
from tests.random_variables import random_variables


class Shapes:
    """The same few coloured shapes in every step, which are also the held-out ones."""

    def __init__(self, count, size, held_out=None):
        toy = ToyPictures(count, size, seed=0)
        self.images = np.stack([toy[i]["image"] for i in range(count)])
        self.held_out = {"image": np.resize(self.images, (held_out or count, size, size, 3))}

    def __getitem__(self, step):
        return {"image": self.images}


def tiny(**changes):
    config = stylegan2_64.get_config("debug")
    config.update({"data": {"size": 8}, "model": {"channel_max": 4, "latent_size": 8}, **changes})
    return config


# ------------------------------------------------------------------------------------------------
# constants
def test_lazy_adam_corrects_rate_and_decays():
    optimiser, c = lazy_adam(0.1, 4), 4 / 5
    state, moment = optimiser.init(jnp.zeros(1)), 0.0
    for count, gradient in enumerate((3.0, -1.0, 0.5), start=1):
        update, state = optimiser.update(jnp.array([gradient]), state)
        decay = 0.99**c
        moment = decay * moment + (1 - decay) * gradient**2
        assert float(update[0]) == pytest.approx(
            -0.1 * c * gradient / np.sqrt(moment / (1 - decay**count)), rel=1e-4
        )


def test_average_has_its_half_life_and_ramps_up():
    late = 10**7
    assert float(ema_decay(jnp.int32(late), 20, 10.0, 0.05)) ** (10_000 / 20) == pytest.approx(
        0.5, rel=1e-3
    )
    # After 1000 steps of 20 the half-life is a twentieth of what was seen: 1000 pictures, 50 steps.
    assert float(ema_decay(jnp.int32(1000), 20, 10.0, 0.05)) ** 50 == pytest.approx(0.5, rel=1e-4)
    assert float(ema_decay(jnp.int32(0), 20, 10.0, 0.05)) == 0


@pytest.mark.parametrize(("signs", "p", "expected"), [
    ((1.0, 1.0, 1.0, 1.0), 0.5, 0.6),
    ((0.0, 1.0, 0.2, 1.0), 0.5, 0.4),
    ((1.0, 1.0, 1.0, 1.0), 0.95, 1.0),
    ((-1.0, -1.0, -1.0, -1.0), 0.05, 0.0),
    ((float("nan"), 0.9, 0.6, 0.6), 0.5, 0.6),
])  # fmt: skip
def test_controller_moves_towards_the_target(signs, p, expected):
    extra = {"ada_p": jnp.float32(p), "ada_signs": jnp.float32(0), "path_mean": jnp.float32(7)}
    for step, sign in enumerate(signs):
        assert float(extra["ada_p"]) == pytest.approx(p)
        extra = adapt(extra, jnp.float32(sign), jnp.int32(step + 8), 0.6, 0.1)
    assert len(signs) == ADA_INTERVAL and float(extra["ada_p"]) == pytest.approx(expected)
    assert float(extra["ada_signs"]) == 0 and float(extra["path_mean"]) == 7


def test_mixed_codes_change_over_once():
    config = tiny()
    generator, discriminator = networks(config)
    params = random_variables(generator, jnp.zeros((1, 8)))["params"]

    @functools.partial(jax.jit, static_argnums=0)
    def codes(mixing, key):
        return Losses(generator, discriminator, mixing, False).codes(params, key, 200)

    plain, mixed = (np.asarray(codes(mixing, jax.random.key(0))) for mixing in (0.0, 0.9))
    assert plain.shape == (200, generator.num_styles, 8) == (200, 4, 8)
    assert np.ptp(plain, axis=1).max() == 0
    changes = (np.abs(np.diff(mixed, axis=1)).max(2) > 1e-6).sum(1)
    assert set(changes) == {0, 1} and changes.mean() == pytest.approx(0.9, abs=0.07)
    places = np.abs(np.diff(mixed, axis=1)).max(2)[changes == 1].argmax(1)
    assert np.bincount(places, minlength=3).min() > 40  # everywhere about as often


def test_thumbnails_of_stripes_and_plain_colour():
    plain = np.full((1, 16, 16, 3), 51, np.uint8)
    stripes = np.zeros((1, 16, 16, 3), np.uint8)
    stripes[:, :, ::2] = 255
    features = np.asarray(thumbnail_features(jnp.asarray(np.concatenate([plain, stripes]))))
    assert features.shape == (2, 192 + 16 + 16)
    np.testing.assert_allclose(features[0], [0.2] * 192 + [0.0] * 32, atol=1e-6)
    np.testing.assert_allclose(features[1], [0.5] * 192 + [1.0] * 16 + [0.0] * 16, atol=1e-6)


# ------------------------------------------------------------------------------------------------
# phases


@pytest.fixture(scope="module")
def run():
    """A trainer, and the state before and after each phase of its first step, by phase."""
    data = Shapes(4, 8, held_out=6)
    trainer = build(tiny(ada="off"), data, None)
    states, metrics = [trainer.create()], {}
    for number, phase in enumerate(trainer.phases):
        step = fast(
            lambda state, batch, phase=phase, number=number: phase.step(
                state, batch, state.phase_key(number)
            )
        )
        new, metrics[phase.name] = step(states[-1], data[0])
        states.append(new)
    return trainer, states, metrics


def distance(a, b):
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, a, b)))


def test_each_phase_moves_its_own_network(run):
    trainer, states, metrics = run
    assert [(phase.name, phase.every) for phase in trainer.phases] == [
        ("d", 1),
        ("r1", 2),
        ("path", 2),
        ("g", 1),
    ]
    for phase, before, after in zip(trainer.phases, states[:-1], states[1:], strict=True):
        mine, other = ("discriminator", "generator")[:: 1 if phase.name in ("d", "r1") else -1]
        assert distance(before.nets[mine].params, after.nets[mine].params) > 1e-3, phase.name
        assert distance(before.nets[other].params, after.nets[other].params) == 0
        assert np.isfinite(list(map(float, metrics[phase.name].values()))).all()
        assert int(after.skipped) == 0 and int(after.step) == 0
    start, *_, before, end = states
    assert float(before.extra["path_mean"]) == pytest.approx(
        0.01 * float(metrics["path"]["length"]), rel=1e-4
    )
    # At the first step the average becomes what was trained; before it is what the run began with.
    assert distance(before.ema["generator"], start.nets["generator"].params) == 0
    assert distance(end.ema["generator"], end.nets["generator"].params) == 0


def test_losses_are_those_of_the_logits(run):
    _, _, metrics = run
    real, fake = (float(metrics["d"][name]) for name in ("real", "fake"))
    # The softplus is convex: the mean loss is at least that of the mean logits, and near it where
    # they differ little.
    least = np.logaddexp(0, -real) + np.logaddexp(0, fake)
    assert least - 1e-5 <= float(metrics["d"]["loss"]) < least + 0.5
    config = tiny()
    weight = config.r1_gamma / 2 * config.r1_every
    assert float(metrics["r1"]["loss"]) == pytest.approx(
        weight * float(metrics["r1"]["penalty"]), rel=1e-5
    )
    length, mean = (float(metrics["path"][name]) for name in ("length", "mean"))
    least = config.path_weight * config.path_every * (length - mean) ** 2
    assert least * 0.999 <= float(metrics["path"]["loss"]) < 2 * least


def test_augmentation_acts_on_real_and_drawn_pictures_and_inside_r1(run):
    """At probability 0 it changes nothing; at 1 it changes what every loss sees."""
    _, states, _ = run
    generator, discriminator = networks(tiny())
    batch, key = {"image": jnp.asarray(Shapes(4, 8).images)}, jax.random.key(5)
    params = states[0].nets["discriminator"].params

    @functools.partial(fast, static_argnums=0)
    def metrics(augmented, state):
        losses = Losses(generator, discriminator, 0.9, augmented)
        return (
            losses.discriminator_loss(state, params, batch, key)[1][0]
            | losses.r1_loss(state, 1.0, params, batch, key)[1][0]
        )

    plain, never, always = (
        metrics(augmented, states[0].replace(extra={"ada_p": jnp.float32(p)}))
        for augmented, p in ((False, 1.0), (True, 0.0), (True, 1.0))
    )
    for name in ("real", "fake", "penalty"):
        assert float(never[name]) == pytest.approx(float(plain[name]), rel=1e-3, abs=1e-5)
        assert float(always[name]) != pytest.approx(float(plain[name]), rel=2e-3)


def test_results_open_and_draw_the_same_pictures(run, tmp_path):
    trainer, states, _ = run
    grid = trainer.samples(states[-1])["ema"]
    assert grid.shape == (4 * 8, 8 * 8, 3) and grid.dtype == np.uint8
    np.testing.assert_array_equal(grid, trainer.samples(states[-1])["ema"])
    trainer.export(states[-1], tmp_path)
    folder = model_folder.load(tmp_path)
    module, variables = folder.network("generator")
    average = folder.arrays["latent_avg"]
    assert average.shape == (8,) and folder.config["kind"] == "stylegan2"
    z = jax.random.normal(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 0), (4, 8))

    @fast
    def drawn(variables):
        w = module.apply(variables, z, method="mapping")
        return module.apply(variables, average + 0.7 * (w - average), method="synthesis")

    pictures = np.asarray(drawn(variables)) * 127.5 + 127.5
    first = grid[:8, : 4 * 8].reshape(8, 4, 8, 3).swapaxes(0, 1)
    np.testing.assert_allclose(first, np.clip(pictures, 0, 255), atol=0.51)
    judge = folder.network("discriminator")
    assert jax.eval_shape(judge.module.apply, judge.variables, jnp.zeros((1, 8, 8, 3))).shape == (
        1,
        1,
    )


def test_distance_is_repeatable_and_near_zero_for_the_same_pictures(run):
    trainer, states, _ = run
    found = trainer.evaluate(states[-1])
    assert found == trainer.evaluate(states[-1]) and found["score"] == -found["frechet"] < 0
    generator, _ = networks(tiny())
    drawn = Samples(generator, {"image": Shapes(4, 8).images}, 0, 4, False).draw(states[-1], 6, 1.0)
    same = Samples(generator, {"image": drawn}, 0, 4, False).distance(
        states[-1]
    )  # the last batch of four is short
    assert abs(same["frechet"]) < 1e-3 * found["frechet"]


@pytest.mark.parametrize("field", ["r1_every", "path_every", "r1_gamma", "path_weight"])
def test_a_penalty_without_interval_or_weight_is_left_out(field):
    trainer = build(tiny(**{field: 0}), Shapes(4, 8), None)
    left = {"r1": "path", "path": "r1"}[field.partition("_")[0]]
    assert [phase.name for phase in trainer.phases] == ["d", left, "g"]
    # Without further updates Adam is the plain one: betas 0 and 0.99, and its first step is the
    # rate in the direction of the gradient.
    plain, optimiser = optax.adam(0.1, 0.0, 0.99, eps=1e-8), lazy_adam(0.1, 0)
    states = [made.init(jnp.ones(2)) for made in (plain, optimiser)]
    for gradient in ([3.0, -1.0], [0.5, 2.0]):
        moves = []
        for i, made in enumerate((plain, optimiser)):
            move, states[i] = made.update(jnp.array(gradient), states[i])
            moves.append(np.asarray(move))
        np.testing.assert_array_equal(*moves)


# ------------------------------------------------------------------------------------------------
# configurations
@pytest.mark.parametrize(("changes", "message"), [
    ({"precision": "bfloat16"}, "float32"),
    ({"data": {"size": 48}}, "powers of two"),
    ({"ada": "maybe"}, "a fixed probability"),
    ({"ada": "1.5"}, "a fixed probability"),
])  # fmt: skip
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(tiny(**changes), Shapes(4, 8), None)


def test_batches_without_whole_groups_are_refused(run):
    trainer, states, _ = run
    with pytest.raises(UserError, match="multiple of 4"):
        jax.eval_shape(trainer.phases[0].step, states[0], Shapes(6, 8)[0], jax.random.key(0))


@pytest.mark.parametrize("mode", ["256", "512", "1024"])
def test_official_configurations_fit_together(mode):
    config = stylegan2.get_config(mode)
    generator, discriminator = networks(config)
    assert (
        generator.resolution == discriminator.resolution == int(mode)
        and config.steps * config.batch_size == 25e6
    )
    assert generator.widths[-1] == {"256": 64, "512": 64, "1024": 32}[mode]


# ------------------------------------------------------------------------------------------------
# learning
@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_overfits_eight_pictures():
    """At 32 pixels the distance falls to a fifth, the error of the nearest pictures to a half."""
    config = tiny(batch_size=8, ada="off", r1_every=16, path_every=4)
    config.update(
        {
            "data": {"size": 32},
            "model": {"channel_max": 32, "channel_multiplier": 2.0, "latent_size": 64},
        }
    )
    # A strong R1 penalty keeps a discriminator that knows eight pictures by heart from running
    # away.
    config.update({"r1_gamma": 3.0, "path_weight": 0.5, "style_mixing": 0.0, "ema_kimg": 1.0})
    data = Shapes(8, 32, held_out=32)
    trainer = build(config, data, None)
    samples = Samples(networks(config)[0], data.held_out, 0, 8, False)
    state = trainer.create()
    steps = [
        jax.jit(lambda s, x, p=p, i=i: p.step(s, x, s.phase_key(i)), donate_argnums=0)
        for i, p in enumerate(trainer.phases)
    ]

    def measured():
        drawn = samples.draw(state, 64, 1.0).reshape(64, 1, -1) / 255
        errors = np.sqrt(((drawn - data.images.reshape(8, -1) / 255) ** 2).mean(2))
        return samples.distance(state)["frechet"], errors.min(0).mean()

    first = measured()
    for number in range(2000):
        for phase, step in zip(trainer.phases, steps, strict=True):
            if number % phase.every == 0:
                state, metrics = step(state, data[number])
        state = state.replace(step=state.step + 1)
    last = measured()
    assert int(state.skipped) == 0 and np.isfinite(float(metrics["loss"]))
    assert last[0] < first[0] / 5 and last[1] < 0.55 * first[1], (first, last)
