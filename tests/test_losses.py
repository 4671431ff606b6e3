"""Losses by closed forms and at their corners.

LPIPS itself is compared with the official package in tests/parity.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.vgg import VGG16, AlexNet
from tests.random_variables import random_variables


def test_lpips_of_equal_pictures_is_zero_with_a_finite_gradient():
    black = jnp.full((1, 64, 64, 3), -1.0)
    variables = random_variables(AlexNet(), black)
    heads = [jnp.full(width, 0.1) for width in (64, 192, 384, 256, 256)]

    @jax.jit
    def loss(image, variables):
        return losses.lpips(
            image, black, lambda x: list(AlexNet().apply(variables, x).values()), heads
        ).sum()

    value, gradient = jax.value_and_grad(loss)(black, variables)
    np.testing.assert_allclose(value, 0, atol=1e-9)
    assert np.all(np.isfinite(gradient))


def test_a_feature_vector_of_zeros_has_a_finite_gradient():
    def distance(x):
        other = (jnp.ones((1, 2, 2, 3)) / np.sqrt(3),)
        return losses.lpips_distance(
            losses.lpips_features(x, lambda y: [0 * y]), other, [jnp.ones(3)]
        ).sum()

    value, gradient = jax.jit(jax.value_and_grad(distance))(jnp.zeros((1, 2, 2, 3)))
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(gradient, 0)


def test_losses_are_one_value_a_picture():
    target = jnp.zeros((2, 4, 4, 3))
    pred = target.at[1, :, :2].set(3.0)
    np.testing.assert_allclose(losses.mse(pred, target), [0, 4.5])
    np.testing.assert_allclose(
        losses.lpips_distance([pred], [target], [jnp.array([0.5, 0.25, 0])]), [0, 3.375]
    )


def test_perceptual_loss_compares_imagenet_normalised_features():
    white, black = jnp.ones((2, 4, 4, 3)), -jnp.ones((2, 4, 4, 3))
    spans = (
        1 / np.array([0.229, 0.224, 0.225])
    ) ** 2  # of white and black in standard deviations, squared
    one = losses.perceptual(white, black, lambda x: [x])
    np.testing.assert_allclose(one, np.full(2, spans.mean()), rtol=1e-5)
    two = losses.perceptual(white, black, lambda x: [x, 2 * x[:, ::2, ::2, :1]])
    np.testing.assert_allclose(two, np.full(2, spans.mean() + 4 * spans[0]), rtol=1e-5)
    seen = []
    losses.perceptual(white, black, lambda x: [seen.append(x) or x])
    np.testing.assert_allclose(
        seen[1][0, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5
    )


def test_nothing_behind_the_last_tap_is_computed_and_names_are_checked():
    x = jnp.zeros((1, 16, 16, 3))
    cut = VGG16(taps=("conv2_1", "relu1_1"))
    features, variables = jax.eval_shape(lambda: cut.init_with_output(jax.random.key(0), x))
    assert list(variables["params"]) == ["conv1_1", "conv1_2", "conv2_1"]
    assert {k: v.shape for k, v in features.items()} == {
        "conv2_1": (1, 8, 8, 128),
        "relu1_1": (1, 16, 16, 64),
    }
    with pytest.raises(ValueError, match=r"relu6_1.*conv1_1"):
        VGG16(taps=("relu6_1",)).init(jax.random.key(0), x)
