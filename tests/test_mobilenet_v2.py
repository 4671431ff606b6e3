"""MobileNetV2: against a plain NumPy forward of the checkpoint's layout, depthwise convolutions
against SciPy, gradients, frozen blocks.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.nn import mobilenet_v2
from diffcam_jax.nn.mobilenet_v2 import MobileNetV2, Stem, mobilenet_v2_from_torch
from diffcam_jax.ops.depthwise import depthwise3x3_halving
from diffcam_jax.pretrained import networks as pretrained
from tests.fast import fast
from tests.random_variables import random_variables

SMALL = ((1, 8, 1, 1), (2, 8, 2, 2), (2, 8, 1, 2), (2, 12, 2, 2), (2, 16, 1, 2))


def convolve(x, kernel, stride=1):
    """x [c, h, w] with kernel [o, c, 3, 3], zero padding 1."""
    out = [
        sum(
            scipy.ndimage.correlate(plane, k, mode="constant")
            for plane, k in zip(x, filters, strict=True)
        )
        for filters in kernel
    ]
    return np.stack(out)[:, ::stride, ::stride]


def depthwise(x, kernel, stride=1):
    """x [c, h, w] with kernel [c, 1, 3, 3]."""
    planes = [
        scipy.ndimage.correlate(plane, k[0], mode="constant")
        for plane, k in zip(x, kernel, strict=True)
    ]
    return np.stack(planes)[:, ::stride, ::stride]


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([(2, 4), (6, 2), (4, 8)]), st.integers(0, 99))
def test_halving_convolution_and_its_gradients(shape, seed):
    rng = np.random.default_rng(seed)
    x, kernel = rng.standard_normal((2, *shape, 3)), rng.standard_normal((3, 3, 3))
    expected = [
        depthwise(image.transpose(2, 0, 1), kernel.transpose(2, 0, 1)[:, None], 2) for image in x
    ]
    found, backward = jax.vjp(
        depthwise3x3_halving, jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    )
    np.testing.assert_allclose(found, np.stack(expected).transpose(0, 2, 3, 1), atol=1e-5)
    gradient = rng.standard_normal(found.shape)
    by_x, by_kernel = backward(jnp.asarray(gradient, jnp.float32))

    # A bilinear function: <gradient, f(x + d, kernel)> - <gradient, f(x, kernel)> is <by_x, d>,
    # exactly.
    def value(x, kernel):
        planes = [
            depthwise(image.transpose(2, 0, 1), kernel.transpose(2, 0, 1)[:, None], 2)
            for image in x
        ]
        return (np.stack(planes).transpose(0, 2, 3, 1) * gradient).sum()

    step, turn = rng.standard_normal(x.shape), rng.standard_normal(kernel.shape)
    assert (np.asarray(by_x) * step).sum() == pytest.approx(value(step, kernel), rel=1e-3, abs=1e-3)
    assert (np.asarray(by_kernel) * turn).sum() == pytest.approx(value(x, turn), rel=1e-3, abs=1e-3)


def test_stem_is_a_convolution_of_stride_two():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, 8, 6, 3)), rng.standard_normal((3, 3, 3, 5))
    variables = {"params": {"kernel": jnp.asarray(kernel, jnp.float32)}}
    found = Stem(5).apply(variables, jnp.asarray(x, jnp.float32))[0]
    expected = convolve(x[0].transpose(2, 0, 1), kernel.transpose(3, 2, 0, 1), 2)
    np.testing.assert_allclose(found, expected.transpose(1, 2, 0), atol=1e-4)


class Checkpoint:
    """A state dict in torchvision's layout with random numbers, and its forward."""

    def __init__(self, stem, rows):
        self.rng, self.stem, self.rows = np.random.default_rng(3), stem, rows
        self.state = {}

    def filters(self, name, *shape):
        if f"{name}.weight" not in self.state:
            self.state[f"{name}.weight"] = self.rng.standard_normal(shape) * np.sqrt(
                2 / np.prod(shape[1:])
            )
        return self.state[f"{name}.weight"]

    def norm(self, x, name):
        c = len(x)
        for leaf, low in (
            ("weight", 0.5),
            ("bias", -0.5),
            ("running_mean", -0.5),
            ("running_var", 0.5),
        ):
            self.state[f"{name}.{leaf}"] = self.rng.uniform(low, low + 1, c)
        self.state[f"{name}.num_batches_tracked"] = np.zeros((), "i8")
        scale, bias, mean, var = (
            self.state[f"{name}.{leaf}"][:, None, None]
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def forward(self, image):
        """The maps [c, h, w] after every feature of one picture [h, w, 3] in [0, 1]."""
        x = ((image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)
        x = self.norm(
            convolve(x, self.filters("features.0.0", self.stem, 3, 3, 3), 2), "features.0.1"
        ).clip(0, 6)
        maps, number = [x], 0
        for factor, width, count, stride in self.rows:
            for index in range(count):
                number += 1
                name, y, at, step = f"features.{number}.conv", x, 0, stride if index == 0 else 1
                inner = factor * len(x)
                if factor > 1:
                    kernel = self.filters(f"{name}.0.0", inner, len(x), 1, 1)[..., 0, 0]
                    y, at = (
                        self.norm(np.einsum("oc,chw->ohw", kernel, y), f"{name}.0.1").clip(0, 6),
                        1,
                    )
                y = depthwise(y, self.filters(f"{name}.{at}.0", inner, 1, 3, 3), step)
                y = self.norm(y, f"{name}.{at}.1").clip(0, 6)
                kernel = self.filters(f"{name}.{at + 1}", width, inner, 1, 1)[..., 0, 0]
                y = self.norm(np.einsum("oc,chw->ohw", kernel, y), f"{name}.{at + 2}")
                x = x + y if step == 1 and len(x) == width else y
                maps.append(x)
        return maps


def test_network_and_conversion_equal_a_plain_forward(monkeypatch):
    monkeypatch.setattr(mobilenet_v2, "ROWS", SMALL)
    image, source = np.random.default_rng(1).uniform(size=(64, 96, 3)), Checkpoint(8, SMALL)
    maps = source.forward(image)
    extra = {"features.18.0.weight": np.zeros(1), "classifier.1.bias": np.zeros(1)}
    variables = jax.tree.map(jnp.asarray, mobilenet_v2_from_torch({**source.state, **extra}))
    found = MobileNetV2(8, SMALL).apply(variables, jnp.asarray(image[None] * 2 - 1, jnp.float32))
    for ours, theirs in zip(found, (maps[4], maps[6], maps[7]), strict=True):
        np.testing.assert_allclose(
            ours[0], theirs.transpose(1, 2, 0), atol=1e-3 * np.abs(theirs).max()
        )
    with pytest.raises(KeyError, match=r"features\.9\.stray"):
        mobilenet_v2_from_torch({**source.state, "features.9.stray": np.zeros(1)})
    with pytest.raises(KeyError, match=r"features\.0\.0\.weight"):
        mobilenet_v2_from_torch(
            {k: v for k, v in source.state.items() if k != "features.0.0.weight"}
        )


def test_frozen_blocks_neither_move_nor_measure():
    module, x = MobileNetV2(8, SMALL, frozen=2), jnp.zeros((2, 32, 32, 3))
    variables = random_variables(module, x)

    def total(params):
        given = jax.random.normal(jax.random.key(0), x.shape)
        maps, changed = module.apply(
            {**variables, "params": params}, given, True, mutable=["batch_stats"]
        )
        return sum((m**2).sum() for m in maps), changed["batch_stats"]

    slopes, statistics = fast(jax.grad(total, has_aux=True))(variables["params"])
    for name, layer in slopes.items():
        moves = any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(layer))
        assert moves == (name not in ("conv", "bn", "block_0", "block_1")), name
        if name in statistics:
            pairs = zip(
                jax.tree.leaves(statistics[name]),
                jax.tree.leaves(variables["batch_stats"][name]),
                strict=True,
            )
            assert any(bool(jnp.any(a != b)) for a, b in pairs) == moves


@pytest.mark.weights
def test_released_weights_fill_the_network():
    module, variables = pretrained.load("mobilenet_v2").network("body")
    x = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, dict(shapes))
    maps = jax.eval_shape(lambda: module.apply(variables, x))
    assert [m.shape for m in maps] == [(1, 8, 8, 32), (1, 4, 4, 96), (1, 2, 2, 320)]
