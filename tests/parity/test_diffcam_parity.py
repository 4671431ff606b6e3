"""Against the official DiffCam module with ResNet-101: every stage from the features to the fused picture."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax import diffcam
from diffcam_jax.compose import blend, resize_mask, training_mask
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.ops.image import resize
from tests.parity.fixtures import load_fixture
from tests.parity.torch_resnet import diffcam_name, variables

DATA = pathlib.Path(__file__).parent.parent / "data/parity/diffcam"
MODEL = DiffClassifier(depth=101, width=64, num_classes=17, split=10)
CLASSES = jnp.array([4, 12])


def nhwc(x):
    return jnp.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))


def close(ours, theirs, relative=1e-4):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * np.abs(theirs).max())


@pytest.fixture(scope="module")
def fixture():
    state, inputs, outputs = load_fixture(DATA)
    weights = jax.tree.map(jnp.asarray, variables({diffcam_name(k): v for k, v in state.items()}))
    return weights, inputs, outputs


@pytest.fixture(scope="module")
def stages(fixture):
    weights, inputs, _ = fixture
    inverted, edited = nhwc(inputs["x"][:, :3]), nhwc(inputs["x"][:, 3:])

    @jax.jit
    def run(weights, inverted, edited):
        delta = diffcam.delta_features(MODEL, weights, inverted, edited)
        logits, h = MODEL.apply(weights, delta, method="head")
        beta = diffcam.channel_weights(MODEL, weights, h, CLASSES)
        every = diffcam.channel_weights(MODEL, weights, h)
        maps = diffcam.activation_map(h, beta)
        mask = diffcam.map_to_mask(jax.nn.relu(maps), (128, 128))
        return {"delta": delta, "logits": logits, "h": h, "beta": beta, "every": every, "maps": maps, "mask": mask}

    with jax.default_matmul_precision("highest"):
        return jax.device_get(run(weights, inverted, edited))


def test_the_parameters_are_exactly_those_of_the_checkpoint(fixture):
    ours = jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, 64, 64, 3)))
    assert jax.tree.map(jnp.shape, fixture[0]) == jax.tree.map(jnp.shape, ours)
    assert sum(p.size for p in jax.tree.leaves(ours["params"])) == pytest.approx(42.535e6, abs=1e3)


def test_difference_of_features(fixture, stages):
    delta = stages["delta"].transpose(0, 3, 1, 2)
    close(delta[:, ::16], fixture[2]["feat_delta"])
    close(delta.mean((2, 3)), fixture[2]["feat_delta.mean"])
    close(delta.std((2, 3)), fixture[2]["feat_delta.std"])


def test_head(fixture, stages):
    h = stages["h"].transpose(0, 3, 1, 2)
    close(h[:, ::16], fixture[2]["layer4"])
    close(h.mean((2, 3)), fixture[2]["layer4.mean"])
    close(stages["logits"], fixture[2]["logits"])


def test_weights_and_map(fixture, stages):
    close(stages["beta"], fixture[2]["cam_weights"])
    close(stages["maps"], fixture[2]["cam_raw"])


def test_gradient_equals_the_closed_form(fixture, stages):
    kernel = np.asarray(fixture[0]["params"]["fc"]["kernel"])  # [2048, 17]; H is 4x4 for a 128 input
    np.testing.assert_allclose(stages["every"], np.broadcast_to(kernel.T / 16, (2, 17, 2048)), rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(stages["every"][[0, 1], [4, 12]], stages["beta"])


def test_mask(fixture, stages):
    np.testing.assert_allclose(stages["mask"], fixture[2]["mask"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(stages["mask"][:1, ::2, ::2], fixture[2]["mask_single"], rtol=0, atol=1e-4)


def test_fusion(fixture, stages):
    _, inputs, outputs = fixture
    edited, original = nhwc(inputs["edited"]), nhwc(inputs["original"])
    mask = resize_mask(jnp.asarray(stages["mask"][:1]), (512, 512), "nearest")
    fused = resize(blend(original, edited, mask), (64, 64), "area")
    close(np.asarray(fused).transpose(0, 3, 1, 2), outputs["fused_reduced"])


def test_training_picture(fixture, stages):
    _, inputs, outputs = fixture
    edited, original = nhwc(inputs["edited"]), nhwc(inputs["original"])
    mask = training_mask(resize_mask(jnp.asarray(stages["mask"][:1]), (512, 512), "nearest"))
    fused = np.asarray(blend(original, edited, mask)).transpose(0, 3, 1, 2)
    # Where the mask is within rounding of 0.5 the fold may fall on the other side; it is continuous there.
    close(fused[:, :, ::16, ::16], outputs["fused_training"])
    close(fused.mean((2, 3)), outputs["fused_training.mean"], 1e-3)
    close(fused.std((2, 3)), outputs["fused_training.std"])
