"""VGG16 and VGG19 by their published tables, the Caffe pre-processing, and where official files'
keys go.
"""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts import idinvert, vgg
from diffcam_jax.nn.vgg import VGG16, VGG19, caffe_preprocess
from diffcam_jax.ops.pool import max_pool
from tests.plain_layers import conv
from tests.random_variables import random_variables

# Places of the convolutions in torchvision's vgg.features.
PLACES = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
LAYOUTS = {"vgg16": vgg.torchvision_vgg16, "vgg19": vgg.torchvision_vgg19}


def official_shapes(name, pattern):
    stages = [
        (64, 2),
        (128, 2),
        *[(width, 3 if name == "vgg16" else 4) for width in (256, 512, 512)],
    ]
    widths = [3, *(width for width, depth in stages for _ in range(depth))]
    shapes = {}
    for place, (before, after) in zip(PLACES[name], itertools.pairwise(widths), strict=True):
        shapes |= {
            pattern.format(place) + ".weight": (after, before, 3, 3),
            pattern.format(place) + ".bias": (after,),
        }
    return shapes


def test_vgg19_layer_by_layer():
    taps = ("conv1_1", "relu2_2", "relu3_4", "conv4_1")
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 16, 16, 3)), jnp.float32)
    variables = random_variables(VGG19(taps), images)
    found = jax.jit(VGG19(taps).apply)(variables, images)
    assert set(found) == set(taps)
    x, params = (
        np.asarray(images),
        jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"]),
    )
    assert len(params) == 9
    for stage, depth in ((1, 2), (2, 2), (3, 4), (4, 1)):
        if stage > 1:
            x = x.reshape(1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        for index in range(1, depth + 1):
            layer = params[f"conv{stage}_{index}"]
            x = conv(x, layer["kernel"]) + layer["bias"]
            for name in (f"conv{stage}_{index}", f"relu{stage}_{index}"):
                x = np.maximum(x, 0) if name.startswith("relu") else x
                if name in taps:
                    np.testing.assert_allclose(found[name], x, atol=2e-4 * np.abs(x).max())


@pytest.mark.parametrize(("size", "window"), [((8, 6), 2), ((7, 9), 2), ((7, 10), 3), ((3, 2), 2)])
def test_pooling_and_its_gradient_are_those_of_xla(size, window):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *size, 3)), jnp.float32)
    ours, theirs = (
        jax.value_and_grad(lambda x, f=f: (f(nn.relu(x)) ** 3).sum())(x)
        for f in (lambda x: max_pool(x, window), lambda x: nn.max_pool(x, (window, window), (2, 2)))
    )
    np.testing.assert_array_equal(max_pool(x, window), nn.max_pool(x, (window, window), (2, 2)))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


def test_caffe_preprocessing():
    picture = jnp.asarray([[[[-1.0, 0.0, 1.0]]]])
    np.testing.assert_allclose(
        caffe_preprocess(picture)[0, 0, 0], [255 - 103.939, 127.5 - 116.779, 0 - 123.68], atol=1e-4
    )


@pytest.mark.parametrize(("name", "parameters"), [("vgg16", 14_714_688), ("vgg19", 20_024_384)])
def test_torchvision_files(name, parameters):
    shapes = official_shapes(name, "features.{}")
    layout = LAYOUTS[name](shapes)
    leaves = jax.tree.leaves(jax.eval_shape(layout.init)["params"])
    assert sum(np.prod(leaf.shape) for leaf in leaves) == parameters
    classifier = {"classifier.0.weight": (4096, 25088), "classifier.6.bias": (1000,)}
    assert layout.faults(shapes) == [] == layout.faults(shapes | classifier)
    other = official_shapes("vgg19" if name == "vgg16" else "vgg16", "features.{}")
    assert any("is missing" in fault for fault in layout.faults(other))


def test_the_perceptual_file_of_in_domain_inversion():
    shapes = official_shapes("vgg16", "layer{}")
    layout = idinvert.perceptual(shapes)
    assert layout.module == VGG16(("relu4_3",)) and layout.faults(shapes) == []
    # Ten of the thirteen convolutions are used.
    assert len(layout.sources) == 20 and sum(layout.reason(key) is not None for key in shapes) == 6
