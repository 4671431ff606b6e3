"""The classifier: where it is cut, the sign, pairs in one pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.nn.classifier import DiffClassifier
from tests.random_variables import random_variables

MODEL = DiffClassifier(depth=18, width=4, num_classes=5, split=1, strides=(1, 2, 2, 1))


@pytest.fixture(scope="module")
def setup():
    a, b = jax.random.uniform(jax.random.key(0), (2, 3, 32, 32, 3), minval=-1.0)
    return random_variables(MODEL, a, b), a, b


def test_official_shapes():
    model = DiffClassifier()
    images = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images, images)
    features = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, images)
    logits, h = jax.eval_shape(lambda v, x: model.apply(v, x, method="head"), variables, features)
    assert (features.shape, logits.shape, h.shape) == ((1, 16, 16, 1024), (1, 17), (1, 8, 8, 2048))


def test_call_is_head_of_the_difference_of_features(setup):
    variables, a, b = setup
    features = jax.jit(lambda v, x: MODEL.apply(v, x, method="features"))
    head = jax.jit(lambda v, x: MODEL.apply(v, x, method="head"))
    before, after = features(variables, a), features(variables, b)
    for sign in (1, -1):
        logits, h = jax.jit(lambda v, a, b, s=sign: MODEL.apply(v, a, b, sign=s))(variables, a, b)
        expected, activations = head(variables, sign * (after - before))
        np.testing.assert_allclose(logits, expected, atol=1e-5)
        np.testing.assert_allclose(h, activations, atol=1e-5)
    assert h.shape == (3, 2, 2, 32)


def test_score_is_pooling_and_the_linear_layer(setup):
    variables, *_ = setup
    h = jax.random.normal(jax.random.key(2), (2, 2, 2, 32))
    fc = variables["params"]["fc"]
    expected = np.asarray(h).mean((1, 2)) @ np.asarray(fc["kernel"]) + np.asarray(fc["bias"])
    np.testing.assert_allclose(MODEL.apply(variables, h, method="score"), expected, atol=1e-5)


def test_shrink_is_the_same_network_on_block_means(setup):
    variables, a, b = setup
    small = [jnp.asarray(np.asarray(x).reshape(3, 16, 2, 16, 2, 3).mean((2, 4))) for x in (a, b)]
    expected, _ = jax.jit(MODEL.apply)(variables, *small)
    logits, _ = jax.jit(MODEL.clone(shrink=2).apply)(variables, a, b)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_impossible_split_is_named():
    x = jnp.zeros((1, 32, 32, 3))
    with pytest.raises(ValueError, match="split 3: layer3 of depth 18 has 2 blocks"):
        DiffClassifier(depth=18, width=4, split=3).init(jax.random.key(0), x, x)
