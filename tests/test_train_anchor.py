"""StyleGAN2's anchor: its distance by hand, its phases on tiny networks, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import stylegan2_64
from diffcam_jax.data.toy import ToyPictures
from diffcam_jax.errors import UserError
from diffcam_jax.train.stylegan2 import build, networks
from diffcam_jax.train.stylegan2_anchor import AXES, Anchor, energy_distance
from diffcam_jax.train.stylegan2_losses import Losses
from tests.fast import fast
from tests.random_variables import random_variables

SIDE, WIDTH = 8, 6


class Shapes:
    """The same eight coloured shapes in every step."""

    def __init__(self):
        toy = ToyPictures(8, SIDE, seed=0)
        self.images = np.stack([toy[i]["image"] for i in range(8)])
        self.held_out = {"image": self.images}

    def __getitem__(self, step):
        return {"image": self.images}


def tiny(**changes):
    config = stylegan2_64.get_config("debug")
    config.update({"data": {"size": SIDE}, "model": {"channel_max": 4, "latent_size": WIDTH}})
    config.update({"ada": "off", "anchor": {"weight": 2.0, "lpips": 0.0, "steps": 4}, **changes})
    return config


def test_the_distance_is_that_of_every_pair():
    rng, key = np.random.default_rng(0), jax.random.key(3)
    a, b = rng.standard_normal((5, WIDTH)), rng.standard_normal((3, WIDTH)) + 1
    axes = np.asarray(jax.random.normal(key, (WIDTH, AXES)), np.float64)
    axes /= np.linalg.norm(axes, axis=0)

    def mean(p, q, same=False):
        pairs = [(x, y) for i, x in enumerate(p) for j, y in enumerate(q) if not same or i != j]
        return np.mean([np.abs((x - y) @ axes).mean() for x, y in pairs])

    expected = 2 * mean(a, b) - mean(a, a, True) - mean(b, b, True)
    assert float(energy_distance(key, jnp.asarray(a), jnp.asarray(b))) == pytest.approx(
        expected, abs=1e-4
    )


def test_the_distance_of_equal_distributions_is_none_on_average():
    keys = jax.random.split(jax.random.key(0), 400)

    def one(key, width):
        axes, x, y = jax.random.split(key, 3)
        a, b = jax.random.normal(x, (16, WIDTH)), width * jax.random.normal(y, (8, WIDTH))
        return energy_distance(axes, a, b)

    same, wider = (np.asarray(fast(jax.vmap(lambda k, w=w: one(k, w)))(keys)) for w in (1.0, 2.0))
    assert abs(same.mean()) < 4 * same.std() / 20
    assert wider.mean() > 0.1


def test_a_code_is_that_of_its_picture_alone():
    generator, discriminator = networks(tiny())
    encoder = Anchor(Losses(generator, discriminator, 0.0, False), 1.0, None, 0.0).encoder
    pictures = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE, 3)))
    variables = random_variables(encoder, pictures)
    codes = np.asarray(fast(encoder.apply)(variables, pictures))
    assert codes.shape == (4, WIDTH)
    np.testing.assert_allclose(
        fast(encoder.apply)(variables, pictures[2:3])[0], codes[2], atol=1e-5
    )


@pytest.fixture(scope="module")
def trainer():
    return build(tiny(), Shapes(), None)


def test_the_anchor_goes_before_and_then_along(trainer):
    def due(step):
        return [phase.name for phase in trainer.phases if phase.due(step)]

    assert due(0) == due(3) == ["anchor"]
    assert due(4) == ["d", "r1", "path", "g"] and due(5) == ["d", "g"]


def test_pictures_are_drawn_of_their_codes(trainer):
    """The anchor alone brings what is drawn nearer, and the discriminator is not trained by it."""
    data, state = Shapes(), trainer.create()
    step = fast(lambda state, batch: trainer.phases[0].step(state, batch, state.phase_key(0)))
    errors = []
    for _ in range(40):
        new, metrics = step(state, data[0])
        errors.append(float(metrics["l2"]))
        state = new.replace(step=new.step + 1)
    assert np.mean(errors[-5:]) < 0.7 * np.mean(errors[:5])
    first = trainer.create()
    before, after = (s.nets["discriminator"].params for s in (first, state))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_with_the_discriminator_encoder_and_generator_learn_together(trainer):
    state = trainer.create()
    number = [phase.name for phase in trainer.phases].index("g")
    step = fast(lambda s, batch: trainer.phases[number].step(s, batch, s.phase_key(number)))
    new, metrics = step(state, Shapes()[0])
    assert {"l2", "spread", "loss"} <= metrics.keys() and "lpips" not in metrics
    for name in ("generator", "anchor"):
        moved = jax.tree.map(
            lambda a, b: float(jnp.abs(a - b).max()), state.nets[name].params, new.nets[name].params
        )
        assert max(jax.tree.leaves(moved)) > 0, name


def test_networks_of_classes_have_no_anchor():
    with pytest.raises(UserError, match="trained without an anchor; give 0"):
        build(tiny(model={"num_classes": 3}), Shapes(), None)
