"""StyleGAN2's anchor: components against NumPy, its phases on tiny networks, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import stylegan2_64
from diffcam_jax.data.toy import ToyPictures
from diffcam_jax.errors import UserError
from diffcam_jax.train.stylegan2 import build
from diffcam_jax.train.stylegan2_anchor import axes_of, components, principal_axes, reading
from tests.fast import fast

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


def test_components_are_the_first_and_white():
    """Pictures that vary along three known thumbnails, one more than the others."""
    rng = np.random.default_rng(0)
    shapes = np.linalg.qr(rng.standard_normal((16 * 16 * 3, 3)))[0].T.reshape(3, 16, 1, 16, 1, 3)
    strengths = rng.standard_normal((400, 3)) * (300, 200, 100)
    small = 128 + np.tensordot(strengths, shapes, 1)
    images = np.broadcast_to(small, (400, 16, 2, 16, 2, 3)).reshape(400, 32, 32, 3)
    images = images.round().clip(0, 255).astype(np.uint8)
    mean, axes = principal_axes(images, 3)
    found = np.asarray(components(*map(jnp.asarray, (images / np.float32(127.5) - 1, mean, axes))))
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.eye(3), atol=1e-3)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)
    for i in range(3):
        assert abs(np.corrcoef(found[:, i], strengths[:, i])[0, 1]) > 0.98


def test_there_are_no_more_axes_than_pictures_vary_along():
    images = np.zeros((50, 16, 16, 3), np.uint8)
    images[:, :8] = np.arange(50)[:, None, None, None]
    _, axes = principal_axes(images, 10)
    assert axes.shape == (768, 1) and np.isfinite(axes).all()


def test_components_are_half_of_the_code_at_most():
    found = axes_of(Shapes(), 8, WIDTH)
    assert found["anchor_axes"].shape == (SIDE * SIDE * 3, WIDTH // 2)


@pytest.fixture(scope="module")
def trainer():
    return build(tiny(), Shapes(), None)


def test_the_mapping_reads_components_alone_at_first(trainer):
    kernel = np.asarray(trainer.create().nets["generator"].params["dense_0"]["kernel"])
    assert (kernel[WIDTH // 2 :] == 0).all() and (kernel[: WIDTH // 2] != 0).all()
    full = np.random.default_rng(0).standard_normal((512, 512))
    kernel = reading({"params": {"dense_0": {"kernel": jnp.asarray(full)}}}, 64)
    found = (
        np.random.default_rng(1).standard_normal((400, 512)) @ kernel["params"]["dense_0"]["kernel"]
    )
    # What a layer gives is as large as before.
    assert np.std(found) == pytest.approx(np.sqrt(512), rel=0.05)


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
    for _ in range(60):
        new, metrics = step(state, data[0])
        errors.append(float(metrics["l2"]))
        state = new.replace(step=new.step + 1)
    assert np.mean(errors[-5:]) < 0.7 * np.mean(errors[:5])
    before, after = (s.nets["discriminator"].params for s in (trainer.create(), state))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_the_generators_loss_is_the_sum_of_both(trainer):
    """At equal draws: the loss with an anchor less that without is the anchor's."""
    number = [phase.name for phase in trainer.phases].index("g")
    plain = build(tiny(anchor={"weight": 0.0}), Shapes(), None)
    assert [phase.name for phase in plain.phases] == ["d", "r1", "path", "g"]
    state, batch = trainer.create(), Shapes()[0]

    def metrics(phase, place):
        return fast(lambda s, b: phase.step(s, b, s.phase_key(place))[1])(state, batch)

    both, alone = (metrics(phase, number) for phase in (trainer.phases[number], trainer.phases[0]))
    without = metrics(plain.phases[3], number)
    assert {"l2", "loss"} <= both.keys() and "lpips" not in both
    assert float(both["loss"]) == pytest.approx(
        float(without["loss"]) + float(alone["loss"]), rel=1e-4
    )


def test_networks_of_classes_have_no_anchor():
    with pytest.raises(UserError, match="trained without an anchor; give 0"):
        build(tiny(model={"num_classes": 3}), Shapes(), None)
