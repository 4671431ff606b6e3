"""LPIPS and its trunks against the official package on the same pseudo-random weights; closed forms for the rest."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax import losses
from diffcam_jax.nn.vgg import ALEXNET_LPIPS_TAPS, VGG16, VGG16_LPIPS_TAPS, AlexNet
from tests.parity.fixtures import load_fixture

DATA = pathlib.Path(__file__).parent / "data/parity/lpips"
NETS = {"vgg": (VGG16(), VGG16_LPIPS_TAPS), "alex": (AlexNet(), ALEXNET_LPIPS_TAPS)}


def nhwc(x):
    return jnp.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))


@pytest.fixture(scope="module")
def data():
    return load_fixture(DATA)


def trunk_and_heads(net, state):
    """The convolutions come in the order of the layers, so they can be named by it."""
    model, _ = NETS[net]
    kernels = [k for k in state if k.startswith(f"{net}.net.") and k.endswith("weight")]
    depths = (2, 2, 3, 3, 3)
    names = {
        "vgg": [f"conv{s}_{i}" for s, depth in enumerate(depths, 1) for i in range(1, depth + 1)],
        "alex": [f"conv{i}" for i in range(1, 6)],
    }[net]
    params = {
        name: {"kernel": jnp.asarray(state[k].transpose(2, 3, 1, 0)), "bias": jnp.asarray(state[k[:-6] + "bias"])}
        for name, k in zip(names, kernels, strict=True)
    }
    heads = [jnp.asarray(state[f"{net}.lin{i}.model.1.weight"].reshape(-1)) for i in range(5)]
    return (lambda x: list(model.apply({"params": params}, x).values())), heads


@pytest.mark.parametrize("net", NETS)
def test_lpips_equals_the_official_package(data, net):
    state, inputs, outputs = data
    trunk, heads = trunk_and_heads(net, state)
    a, b = nhwc(inputs["a"]), nhwc(inputs["b"])
    distance = jax.jit(lambda p, t: losses.lpips(p, t, trunk, heads))
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(distance(a, b), outputs[f"{net}.distance"], rtol=2e-5)
        mixed = distance(a, 0.65 * a + 0.35 * b)
        np.testing.assert_allclose(mixed, outputs[f"{net}.distance_mixed"], rtol=2e-5)
        odd = distance(nhwc(inputs["a_odd"]), nhwc(inputs["b_odd"]))
        np.testing.assert_allclose(odd, outputs[f"{net}.distance_odd"], rtol=2e-5)


@pytest.mark.parametrize("net", NETS)
def test_every_tap_and_its_share_of_the_distance(data, net):
    state, inputs, outputs = data
    trunk, heads = trunk_and_heads(net, state)
    a, b = nhwc(inputs["a"]), nhwc(inputs["b"])
    unscaled = jax.jit(trunk)((a - jnp.asarray(losses.LPIPS_SHIFT)) / jnp.asarray(losses.LPIPS_SCALE))
    for i, feature in enumerate(unscaled):
        mean = outputs[f"probe.{net}.feat{i}.mean"]
        np.testing.assert_allclose(feature.mean((1, 2)), mean, atol=1e-4 * np.abs(mean).max())
    fa, fb = (jax.jit(lambda x: losses.lpips_features(x, trunk))(x) for x in (a, b))
    for i in range(5):
        share = losses.lpips_distance(fa[i : i + 1], fb[i : i + 1], heads[i : i + 1])
        np.testing.assert_allclose(share, outputs[f"{net}.per_layer"][:, i], rtol=5e-5)


def test_lpips_of_equal_pictures_is_zero_with_a_finite_gradient(data):
    trunk, heads = trunk_and_heads("alex", data[0])
    black = jnp.full((1, 64, 64, 3), -1.0)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: losses.lpips(x, black, trunk, heads).sum()))(black)
    np.testing.assert_allclose(value, 0, atol=1e-9)
    assert np.all(np.isfinite(gradient))


def test_a_feature_vector_of_zeros_has_a_finite_gradient():
    def distance(x):
        other = (jnp.ones((1, 2, 2, 3)) / np.sqrt(3),)
        return losses.lpips_distance(losses.lpips_features(x, lambda y: [0 * y]), other, [jnp.ones(3)]).sum()

    value, gradient = jax.jit(jax.value_and_grad(distance))(jnp.zeros((1, 2, 2, 3)))
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(gradient, 0)


def test_losses_are_one_value_a_picture():
    target = jnp.zeros((2, 4, 4, 3))
    pred = target.at[1, :, :2].set(3.0)
    np.testing.assert_allclose(losses.mse(pred, target), [0, 4.5])
    np.testing.assert_allclose(losses.lpips_distance([pred], [target], [jnp.array([0.5, 0.25, 0])]), [0, 3.375])


def test_nothing_behind_the_last_tap_is_computed_and_names_are_checked():
    x = jnp.zeros((1, 16, 16, 3))
    cut = VGG16(taps=("conv2_1", "relu1_1"))
    features, variables = jax.eval_shape(lambda: cut.init_with_output(jax.random.key(0), x))
    assert list(variables["params"]) == ["conv1_1", "conv1_2", "conv2_1"]
    assert {k: v.shape for k, v in features.items()} == {"conv2_1": (1, 8, 8, 128), "relu1_1": (1, 16, 16, 64)}
    with pytest.raises(ValueError, match=r"relu6_1.*conv1_1"):
        VGG16(taps=("relu6_1",)).init(jax.random.key(0), x)
