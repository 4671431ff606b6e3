"""The generator: structure on a tiny instance, numbers against OpenVINO on the real weights."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.fixture import Fixture
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.ops.depthwise import depthwise3x3
from diffcam_jax.pretrained import store
from tests.random_variables import random_variables

DATA = pathlib.Path(__file__).parent / "data/parity/random_face"
TINY = MobileStyleGAN(widths=(16, 16, 8), latent_size=12, mapping_layers=2)


@pytest.fixture(scope="module")
def tiny():
    return random_variables(TINY, jnp.zeros((1, 12)))["params"]


@functools.partial(jax.jit, static_argnums=2)
def draw(params, w, size=None):
    return TINY.apply({"params": params}, w, method="synthesis", size=size)


def test_depthwise_is_a_grouped_convolution():
    rng = np.random.default_rng(0)
    x, kernel = (
        rng.standard_normal((2, 5, 6, 3)).astype(np.float32),
        rng.standard_normal((3, 3, 3)).astype(np.float32),
    )
    expected = jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=3,
    )
    np.testing.assert_allclose(
        depthwise3x3(jnp.asarray(x), jnp.asarray(kernel)), expected, atol=1e-5
    )


def test_depthwise_gradients_are_the_grouped_convolutions():
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel, weight = (
        jax.random.normal(k, s) for k, s in zip(keys, [(2, 5, 6, 3), (3, 3, 3), (2, 5, 6, 3)])
    )

    def grouped(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel[:, :, None],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=3,
        )

    ours, theirs = (
        jax.grad(lambda x, k, f=f: jnp.sum(weight * jnp.tanh(f(x, k))), argnums=(0, 1))(x, kernel)
        for f in (depthwise3x3, grouped)
    )
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_sizes_are_exact_area_means(tiny):
    w = jax.random.normal(jax.random.key(1), (2, 12))
    full = np.asarray(draw(tiny, w))
    assert full.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(
        draw(tiny, w, 16), full.reshape(2, 16, 2, 16, 2, 3).mean((2, 4)), atol=1e-5
    )
    np.testing.assert_allclose(
        draw(tiny, w, 8), full.reshape(2, 8, 4, 8, 4, 3).mean((2, 4)), atol=1e-5
    )


def test_wplus_rows(tiny):
    w = jax.random.normal(jax.random.key(1), (1, 12))
    rows = jnp.repeat(w[:, None], 8, 1)
    np.testing.assert_allclose(draw(tiny, rows), draw(tiny, w), atol=1e-6)
    for row in range(8):
        changed = np.abs(np.asarray(draw(tiny, rows.at[:, row].add(1.0)) - draw(tiny, w))).max()
        assert (changed > 1e-6) == (row < TINY.num_styles), row
    with pytest.raises(ValueError, match="at least 6 rows, got 5"):
        draw(tiny, rows[:, :5])


def test_a_batch_is_its_samples(tiny):
    z = jax.random.normal(jax.random.key(2), (3, 12))
    together = TINY.apply({"params": tiny}, z)
    alone = jnp.concatenate([TINY.apply({"params": tiny}, z[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.weights
def test_parity_with_openvino():
    fixture = Fixture(DATA)
    params, _ = store.load_pretrained("mobile_stylegan_ffhq")
    model = MobileStyleGAN()
    inputs, expected = jax.tree.map(jnp.asarray, fixture.inputs), fixture.outputs
    w = model.apply({"params": params}, inputs["z"], method="mapping")
    np.testing.assert_allclose(w, expected["w"], atol=2e-5)
    mean = np.asarray(model.apply({"params": params}, inputs["z_mean"], method="mapping")).mean(0)
    np.testing.assert_allclose(mean, expected["style_mean"][0], atol=2e-5)

    image = np.asarray(
        jax.jit(lambda w: model.apply({"params": params}, w, method="synthesis"))(w[:2])
    )
    nchw = image.transpose(0, 3, 1, 2)
    # 1e-4 of the image range, which is 2.
    np.testing.assert_allclose(
        nchw.reshape(2, 3, 128, 8, 128, 8).mean((3, 5)), expected["image_128"], atol=2e-4
    )
    np.testing.assert_allclose(nchw[:, :, 480:544, 480:544], expected["crop_64"], atol=2e-4)
    np.testing.assert_allclose(image.mean((1, 2)), expected["image.mean"], atol=1e-4)
