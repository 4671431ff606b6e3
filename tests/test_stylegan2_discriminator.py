"""StyleGAN2's discriminator against naive per-sample convolutions in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator, minibatch_stddev
from tests.naive_layers import blurred, convolved, field, normal_variables


@pytest.fixture(autouse=True)
def highest_precision():
    with jax.default_matmul_precision("highest"):
        yield


def test_minibatch_stddev_compares_interleaved_groups():
    x = np.asarray(field(8, 2, 2, 3))
    deviations = [np.sqrt(x[k::2].astype(np.float64).var(0) + 1e-8).mean() for k in (0, 1)]
    np.testing.assert_allclose(minibatch_stddev(jnp.asarray(x)), deviations * 4, rtol=1e-5)
    np.testing.assert_allclose(minibatch_stddev(jnp.asarray(x[:1])), [1e-4], rtol=1e-5)
    with pytest.raises(ValueError, match="a batch of 6"):
        minibatch_stddev(jnp.asarray(x[:6]))


def test_discriminator_blocks_blur_before_the_stride():
    model = StyleGAN2Discriminator((6, 5, 4))
    x = field(2, 16, 16, 3)
    variables = normal_variables(model, x)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])

    def act(x):
        return math.sqrt(2) * np.where(x > 0, x, 0.2 * x)

    def block(x, p):
        c = x.shape[-1]
        y = act(convolved(x, p["conv1"]["kernel"] / math.sqrt(9 * c), 1) + p["conv1"]["bias"])
        y, shortcut = np.pad(y, ((1, 1), (1, 1), (0, 0))), x
        y = convolved(blurred(y) / 4, p["conv2"]["kernel"] / math.sqrt(9 * c), 0)[::2, ::2]
        shortcut = convolved(blurred(shortcut)[::2, ::2] / 4, p["skip"]["kernel"] / math.sqrt(c), 0)
        return (act(y + p["conv2"]["bias"]) + shortcut) / math.sqrt(2)

    features = []
    for sample in np.asarray(x, np.float64):
        y = act(convolved(sample, p["convs_0"]["kernel"] / math.sqrt(3), 0) + p["convs_0"]["bias"])
        features.append(block(block(y, p["convs_1"]), p["convs_2"]))
    features = np.stack(features)
    deviation = np.full((2, 4, 4, 1), np.sqrt(features.var(0) + 1e-8).mean())
    features = np.concatenate([features, deviation], -1)
    kernel = p["final_conv"]["kernel"] / math.sqrt(9 * 7)
    y = act(
        np.stack([convolved(f, kernel, 1) for f in features]) + p["final_conv"]["bias"]
    ).reshape(2, -1)
    y = act(y @ p["final_linear_0"]["kernel"] / math.sqrt(96) + p["final_linear_0"]["bias"])
    y = y @ p["final_linear_1"]["kernel"] / math.sqrt(6) + p["final_linear_1"]["bias"]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x), y, atol=1e-4)
