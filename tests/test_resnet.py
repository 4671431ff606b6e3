"""ResNet: shapes, parameter counts of torchvision, the two rewritten operators.

Batch statistics.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.nn.resnet import ResNet, StemConv
from diffcam_jax.ops.pool import max_pool
from tests.random_variables import random_variables


# torchvision's published counts, without the running statistics.
@pytest.mark.parametrize(
    ("depth", "millions"), [(18, 11.689512), (34, 21.797672), (50, 25.557032), (101, 44.549160)]
)
def test_parameter_counts_of_torchvision(depth, millions):
    shapes = jax.eval_shape(
        ResNet(depth, num_classes=1000).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    )
    assert sum(p.size for p in jax.tree.leaves(shapes["params"])) == round(millions * 1e6)


def test_taps_and_strides():
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)

    def taps(model):
        out, taps = jax.eval_shape(
            lambda x: model.init_with_output(jax.random.key(0), x)[0], images
        )
        return out.shape, {name: tap.shape for name, tap in taps.items()}

    assert taps(ResNet(18, 8)) == (
        (2, 64),
        {
            "stem": (2, 16, 24, 8),
            "layer1": (2, 16, 24, 8),
            "layer2": (2, 8, 12, 16),
            "layer3": (2, 4, 6, 32),
            "layer4": (2, 2, 3, 64),
        },
    )
    pooled, fine = taps(ResNet(50, 8, strides=(1, 2, 2, 1)))
    assert pooled == (2, 256) and fine["layer4"] == (2, 4, 6, 256)


@pytest.mark.parametrize("size", [(16, 24), (17, 23)])
def test_stem_is_the_strided_7x7_convolution(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    stem = StemConv(5)
    params = stem.init(jax.random.key(1), x)
    plain = nn.Conv(5, (7, 7), (2, 2), padding=((3, 3), (3, 3)), use_bias=False)
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(stem.apply(params, x), plain.apply(params, x), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 12), (9, 7)])
def test_max_pool_and_its_gradient(size):
    x = jax.random.normal(jax.random.key(0), (1, *size, 3))

    def window(x):
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))

    np.testing.assert_array_equal(max_pool(x, 3, pad=1), window(x))
    ours, theirs = (
        jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2))(x)
        for f in (lambda x: max_pool(x, 3, pad=1), window)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_train_mode_updates_the_statistics_and_frozen_mode_uses_them():
    model = ResNet(18, 4)
    images = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
    variables = random_variables(model, images)
    _, updates = jax.jit(lambda v: model.apply(v, images, train=True, mutable=["batch_stats"]))(
        variables
    )
    stem = StemConv(4).apply({"params": variables["params"]["conv1"]}, images)
    stored, bn1 = variables["batch_stats"]["bn1"], variables["params"]["bn1"]
    mean = 0.9 * stored["mean"] + 0.1 * stem.mean((0, 1, 2))
    np.testing.assert_allclose(updates["batch_stats"]["bn1"]["mean"], mean, atol=1e-6)
    _, taps = jax.jit(model.apply)(variables, images)
    normal = (stem - stored["mean"]) / np.sqrt(stored["var"] + 1e-5) * bn1["scale"] + bn1["bias"]
    expected = max_pool(nn.relu(normal), 3, pad=1)
    np.testing.assert_allclose(taps["stem"], expected, atol=1e-5)


def test_unknown_depth_is_named():
    with pytest.raises(ValueError, match="152"):
        ResNet(152).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
