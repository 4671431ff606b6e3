"""Against torchvision's ResNet-101 on a pseudo-random state_dict: taps and ImageNet logits."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.nn.resnet import ResNet
from tests.parity.fixtures import load_fixture
from tests.parity.torch_resnet import variables

DATA = pathlib.Path(__file__).parent.parent / "data/parity/resnet101"
STRIDES = {"stem": (4, 2), "layer1": (16, 2), "layer2": (32, 1), "layer3": (64, 1), "layer4": (128, 1)}


def test_resnet101_matches_torchvision():
    state, inputs, outputs = load_fixture(DATA)
    weights = variables({key.removeprefix("resnet101."): value for key, value in state.items()})
    images = inputs["x"].transpose(0, 2, 3, 1)  # [0,1]
    images = (images - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    with jax.default_matmul_precision("highest"):
        logits, taps = jax.jit(ResNet(101, num_classes=1000).apply)(weights, jnp.asarray(images))
    for name, (channels, space) in STRIDES.items():
        expected = outputs["probe.resnet101." + name.replace("stem", "maxpool")]
        ours = np.asarray(taps[name]).transpose(0, 3, 1, 2)[:, ::channels, ::space, ::space]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)
    expected = outputs["resnet101.logits"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
