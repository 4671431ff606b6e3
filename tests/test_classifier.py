"""The classifiers: where the ResNet is cut, the sign, pairs in one pass.

That local evidence stays at its place.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.nn.classifier import DiffClassifier, LocalClassifier, LocalTrunk
from diffcam_jax.nn.mobilenet_v2 import MobileNetV2
from tests.random_variables import random_variables

MODEL = DiffClassifier(depth=18, width=4, num_classes=5, split=1, strides=(1, 2, 2, 1))
LOCAL = LocalClassifier(
    num_classes=5, width=8, layers=2, stem=4, rows=((1, 4, 1, 1), (2, 4, 2, 2), (2, 8, 3, 2))
)


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


@pytest.fixture(scope="module")
def local():
    picture = jax.random.uniform(jax.random.key(3), (1, 192, 192, 3), minval=-1.0)
    variables = random_variables(LOCAL, picture, picture)
    return jax.jit(lambda a, b: LOCAL.apply(variables, a, b)), variables, picture


def test_local_shapes_and_size():
    model = LocalClassifier()
    images = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images, images)
    features = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, images)
    logits, h = jax.eval_shape(model.apply, variables, images, images)
    assert (features.shape, logits.shape, h.shape) == ((1, 32, 32, 128), (1, 10), (1, 32, 32, 160))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) < 2e6


def test_the_trunk_is_the_beginning_of_mobilenet():
    """Same parameters by name, same map at 1/8 of a picture that is moved as the trunk moves it."""
    rows = (*LOCAL.rows, (2, 8, 1, 2), (2, 8, 1, 2))
    images = jax.random.uniform(jax.random.key(6), (1, 64, 64, 3), minval=-1.0)
    body, trunk = MobileNetV2(4, rows), LocalTrunk(4, LOCAL.rows)
    whole = random_variables(body, images)
    names = jax.eval_shape(trunk.init, jax.random.key(0), images)["params"]
    part = {
        kind: {name: tree[name] for name in names if name in tree} for kind, tree in whole.items()
    }
    moved = jnp.asarray(
        np.pad(np.asarray(images), ((0, 0), (0, 3), (0, 3), (0, 0)), mode="edge")[:, 3:, 3:]
    )
    found = jax.jit(trunk.apply)(part, images)
    assert found.shape == (1, 8, 8, 4 * 4 + 8)
    np.testing.assert_allclose(found[..., 16:], jax.jit(body.apply)(whole, moved)[0], atol=1e-4)


@pytest.mark.parametrize(("top", "left"), [(88, 80), (101, 34), (0, 184)])
def test_a_change_is_seen_at_its_place_and_nowhere_else(local, top, left):
    """A cell of 8 pixels sees 59 pixels, about one that is half a pixel off its middle."""
    compare, _, picture = local
    edited = picture.at[:, top : top + 8, left : left + 8].multiply(-1.0)
    _, h = compare(picture, edited)
    seen = np.abs(np.asarray(h)[0]).sum(-1)
    assert seen[(top + 4) // 8, (left + 4) // 8] > 0
    centre = 8 * np.arange(24) + 3.5
    distance = [
        np.maximum(np.maximum(first - centre, centre - (first + 7)), 0) for first in (top, left)
    ]
    far = (distance[0][:, None] > 30) | (distance[1][None] > 30)
    assert far.any() and (seen[far] == 0).all()


def test_the_map_has_no_drift(local):
    """With even kernels the difference of features is symmetric about its centre, which must be the
    patch's to a quarter of a cell.
    """
    _, variables, _ = local
    flat = {
        "kernel": lambda x: jnp.full(x.shape, 1 / x[..., 0].size),
        "scale": jnp.ones_like,
        "var": jnp.ones_like,
    }
    even = jax.tree_util.tree_map_with_path(
        lambda path, x: flat.get(path[-1].key, jnp.zeros_like)(x), variables
    )
    before = jnp.zeros((1, 192, 192, 3))
    after = before.at[:, 88:104, 56:72].set(1.0)
    features = jax.jit(lambda x: LOCAL.apply(even, x, method="features"))
    mass = np.asarray(features(after) - features(before))[0]
    centre = 8 * np.arange(24) + 3.5
    for part in (mass[..., :16].sum(-1), mass[..., 16:].sum(-1)):  # the finer and the coarser map
        assert abs((part.sum(1) * centre).sum() / part.sum() - 95.5) < 2
        assert abs((part.sum(0) * centre).sum() / part.sum() - 63.5) < 2


def test_pictures_alike_give_no_evidence(local):
    compare, _, picture = local
    logits, h = compare(picture, picture)
    np.testing.assert_array_equal(h, 0)
    np.testing.assert_allclose(logits, 0, atol=1e-6)


def test_a_shift_of_the_pictures_shifts_the_map(local):
    compare, _, picture = local
    edited = jnp.roll(picture, 1, axis=-1)
    _, h = compare(picture, edited)
    _, moved = compare(*(jnp.roll(x, (16, 8), axis=(1, 2)) for x in (picture, edited)))
    np.testing.assert_allclose(moved[:, 8:-6, 7:-6], h[:, 6:-8, 6:-7], atol=1e-3)


def test_local_score_is_a_smooth_maximum_of_the_cells(local):
    _, variables, _ = local
    h = np.asarray(jax.random.normal(jax.random.key(4), (2, 3, 4, 8)))
    votes = (h @ np.asarray(variables["params"]["fc"]["kernel"])).reshape(2, 12, 5)
    scores = np.asarray(LOCAL.apply(variables, jnp.asarray(h), method="score"))
    np.testing.assert_allclose(scores, np.log(np.exp(votes).mean(1)), atol=1e-5)
    evidence = LOCAL.apply(variables, jnp.asarray(h), method="evidence")
    np.testing.assert_allclose(evidence.reshape(2, 12, 5), votes, atol=1e-5)
    assert (votes.mean(1) <= scores + 1e-5).all() and (scores <= votes.max(1) + 1e-5).all()
