"""SFace against onnxruntime on the published weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.formats import read_onnx
from diffcam_jax.nn.sface import SFace, sface_from_onnx
from diffcam_jax.pretrained import store

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def content():
    return store.fetch("sface").read_bytes()


@pytest.fixture(scope="module")
def constants(content):
    return read_onnx(content)


def test_embeddings_equal_those_of_onnxruntime(content, constants):
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (3, 14, 14, 3)).repeat(8, 1).repeat(8, 2)
    images = np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).round().astype(np.float32)
    theirs = np.concatenate(
        [session.run(None, {"data": x.transpose(2, 0, 1)[None]})[0] for x in images]
    )
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(SFace().apply)(sface_from_onnx(constants), jnp.asarray(images))
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_every_variable_is_filled(constants):
    expected = jax.eval_shape(SFace().init, jax.random.key(0), jnp.zeros((1, 112, 112, 3)))
    found = sface_from_onnx(constants)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), found) == jax.tree.map(
        lambda a: (a.shape, a.dtype), expected
    )


def test_other_networks_are_refused(constants):
    changes = {
        "bn1_gamma is missing": {"bn1_gamma": None},
        r"fc1_beta is \(2,\) instead of \(128,\)": {"fc1_beta": np.zeros(2)},
        "left over are .*extra": {"extra": np.zeros(3)},
        "left over are scalar_op1": {"scalar_op1": np.zeros(1)},
    }
    for message, change in changes.items():
        changed = {name: array for name, array in (constants | change).items() if array is not None}
        with pytest.raises(UserError, match=f"not the SFace network, {message}"):
            sface_from_onnx(changed)
