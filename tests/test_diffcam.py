"""Diff-CAM: Eq. 1 to 4, variants, baselines, degenerate maps, the classifier file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.editing import diffcam
from diffcam_jax.editing.classifier import Classifier, load_classifier, save_classifier
from diffcam_jax.editing.compose import MaskConfig
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editing.diffcam import (
    OFFICIAL,
    PAPER,
    CamConfig,
    cam,
    diff_cam,
    grad_cam,
    normalise,
)
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.classifier import DiffClassifier, LocalClassifier
from diffcam_jax.nn.network import Network
from tests.random_variables import random_variables

MODEL = DiffClassifier(depth=18, width=4, num_classes=5, split=1, strides=(1, 2, 2, 1))
SMALL = {"width": 8, "layers": 1, "stem": 4, "rows": ((1, 4, 1, 1), (2, 4, 1, 2), (2, 4, 1, 2))}


@pytest.fixture(scope="module")
def setup():
    a, b = jax.random.uniform(jax.random.key(0), (2, 3, 64, 64, 3), minval=-1.0)
    return Classifier(Network(MODEL, random_variables(MODEL, a, b))), a, b


@functools.partial(jax.jit, static_argnums=(0, 5))
def compiled(method, classifier, a, b, classes, config):
    return method(classifier, a, b, classes, config)


def run(method, setup, classes=None, config=OFFICIAL):
    return compiled(method, *setup, classes, config)


def test_variants():
    assert list(VARIANTS) == ["product", "official", "paper"]
    assert VARIANTS["official"].cam == OFFICIAL == CamConfig("minmax", "bilinear", "nearest")
    assert VARIANTS["paper"].cam == PAPER == CamConfig("max", "bilinear", "bilinear")
    assert VARIANTS["product"].cam == OFFICIAL and VARIANTS["product"].window is not None
    for name in ("official", "paper"):  # whole pictures, with the mask as it comes
        assert VARIANTS[name].window is None
        assert VARIANTS[name].mask == MaskConfig(resize=VARIANTS[name].cam.resize)
    with pytest.raises(ValueError, match="normalise 'mean': allowed are 'minmax', 'max'"):
        CamConfig(normalise="mean")


def test_mask_is_the_closed_form(setup):
    """Only pooling and a linear layer follow H, so that M is ReLU(fc.weight . H), resized and
    normalised.
    """
    classifier, a, b = setup
    variables = classifier.network.variables
    logits, h = jax.jit(MODEL.apply)(variables, a, b)
    kernel = np.asarray(variables["params"]["fc"]["kernel"])
    maps = np.maximum(np.einsum("bhwc,cn->bnhw", np.asarray(h), kernel), 0)
    result = run(diff_cam, setup)
    assert result.mask.shape == (3, 5, 64, 64)
    np.testing.assert_allclose(result.logits, logits, atol=1e-4)
    # 16x upsampling: output pixel 16 i + 8 + (-0.5) lies between source pixels, so compare bilinear
    # by hand.
    position = np.clip((np.arange(64) + 0.5) / 16 - 0.5, 0, 3)
    low = np.floor(position).astype(int)
    high, t = np.minimum(low + 1, 3), (position - low)
    rows = maps[:, :, low] * (1 - t)[:, None] + maps[:, :, high] * t[:, None]
    full = rows[..., low] * (1 - t) + rows[..., high] * t
    full -= full.min((2, 3), keepdims=True)
    peak = full.max((2, 3), keepdims=True)
    np.testing.assert_allclose(result.mask, full / np.where(peak > 0, peak, 1), atol=2e-4)
    assert (peak > 0).any()


def test_gradient_of_a_score_is_its_row_of_the_linear_layer(setup):
    classifier, _, _ = setup
    h = jax.random.normal(
        jax.random.key(1), (2, 4, 4, 32)
    )  # any activations: the score is linear in them
    classes = jnp.array([4, 0])
    weights = jax.jit(diffcam.channel_weights)
    every, chosen = weights(classifier, h), weights(classifier, h, classes)
    kernel = np.asarray(classifier.network.variables["params"]["fc"]["kernel"])
    np.testing.assert_allclose(
        every, np.broadcast_to(kernel.T / 16, (2, 5, 32)), rtol=1e-5, atol=1e-9
    )
    np.testing.assert_array_equal(every[jnp.arange(2), classes], chosen)


def test_with_local_evidence_the_map_is_that_of_the_linear_layer_too():
    """Eq. 3 through the smooth maximum: the gradient's spatial mean is the class's row up to a
    factor, and min-max takes that away.
    """
    model = LocalClassifier(num_classes=3, **SMALL)
    a, b = jax.random.uniform(jax.random.key(5), (2, 2, 32, 32, 3), minval=-1.0)
    variables = random_variables(model, a, b)
    classifier = Classifier(Network(model, variables))
    result = compiled(diff_cam, classifier, a, b, None, OFFICIAL)
    _, h = jax.jit(model.apply)(variables, a, b)
    kernel = np.asarray(variables["params"]["fc"]["kernel"])
    maps = np.maximum(np.einsum("bhwc,cn->bnhw", np.asarray(h), kernel), 0)
    expected = diffcam.map_to_mask(jnp.asarray(maps), (32, 32))
    np.testing.assert_allclose(result.mask, expected, atol=1e-4)
    assert expected.max() == 1


def test_chosen_classes_are_slices_of_all_classes_and_batches_are_independent(setup):
    classifier, a, b = setup
    classes = jnp.array([4, 0, 2])
    every, chosen = run(diff_cam, setup), run(diff_cam, setup, classes)
    assert chosen.mask.shape == (3, 64, 64) and chosen.mask.dtype == jnp.float32
    np.testing.assert_allclose(chosen.mask, every.mask[jnp.arange(3), classes], atol=1e-5)
    single = run(diff_cam, (classifier, a[1:2], b[1:2]), classes[1:2])
    np.testing.assert_allclose(single.mask[0], chosen.mask[1], atol=1e-4)


def test_the_sign_is_the_classifiers(setup):
    """One trained on features(I') - features(T) says of (T, I') what one of the other sign says of
    (I', T).
    """
    classifier, a, b = setup
    classes, reverse = jnp.array([1, 2, 3]), classifier.replace(sign=-1)
    there, back = (run(diff_cam, (classifier, *pair), classes) for pair in ((a, b), (b, a)))
    for forward, pair in ((there, (b, a)), (back, (a, b))):
        swapped = run(diff_cam, (reverse, *pair), classes)
        np.testing.assert_allclose(swapped.mask, forward.mask, atol=1e-4)
        np.testing.assert_allclose(swapped.logits, forward.logits, atol=1e-4)
    assert np.abs(there.mask - back.mask).mean() > 0.1


def test_identical_pictures_and_flat_maps_give_no_nan(setup):
    classifier, a, _ = setup
    for config in (OFFICIAL, PAPER):
        result = run(diff_cam, (classifier, a, a), jnp.array([0, 1, 2]), config)
        assert np.isfinite(result.mask).all()
    zero = jnp.zeros((2, 4, 4))
    for how in ("minmax", "max"):
        np.testing.assert_array_equal(normalise(zero, how), 0)
        np.testing.assert_array_equal(normalise(-1 - zero, how), 0)
        assert np.isfinite(jax.grad(lambda x, how=how: normalise(x, how).sum())(zero)).all()
    np.testing.assert_array_equal(normalise(zero + 0.1, "minmax"), 0)
    constant = diffcam.map_to_mask(
        jnp.full((1, 7, 7), 0.1), (50, 50)
    )  # rounding of the resize must not be stretched
    np.testing.assert_array_equal(constant, 0)


def test_normalisations():
    maps = jnp.array([[[1.0, 2.0], [3.0, 5.0]]])
    np.testing.assert_allclose(normalise(maps, "minmax")[0], [[0, 0.25], [0.5, 1]])
    np.testing.assert_allclose(normalise(maps, "max")[0], [[0.2, 0.4], [0.6, 1]])


def test_gradients_through_the_mask_are_finite(setup):
    classifier, a, b = setup

    @jax.jit
    def grad(edited):
        return jax.grad(lambda x: diff_cam(classifier, a, x, jnp.array([0, 1, 2])).mask.sum())(
            edited
        )

    assert np.isfinite(grad(b)).all() and np.isfinite(grad(a)).all()


def test_baselines_look_at_the_edited_picture_alone(setup):
    classifier, a, b = setup
    classes, variables = jnp.array([0, 1, 2]), classifier.network.variables
    for method in (grad_cam, cam):
        result = run(method, setup, classes)
        assert result.mask.shape == (3, 64, 64) and result.logits.shape == (3, 5)
        np.testing.assert_array_equal(
            result.mask, run(method, (classifier, 0 * a, b), classes).mask
        )
        np.testing.assert_allclose(
            run(method, setup).mask[jnp.arange(3), classes], result.mask, atol=1e-5
        )
    # CAM has no ReLU: its zero is at the least likely place, not wherever the evidence is negative.
    features = jax.jit(lambda v, x: MODEL.apply(v, x, method="features"))(variables, b)
    h = jax.jit(lambda v, x: MODEL.apply(v, x, method="head")[1])(variables, features)
    maps = np.einsum(
        "bhwc,cb->bhw", np.asarray(h), np.asarray(variables["params"]["fc"]["kernel"])[:, :3]
    )
    resized = diffcam.map_to_mask(jnp.asarray(maps, jnp.float32), (64, 64))
    np.testing.assert_allclose(run(cam, setup, classes).mask, resized, atol=1e-4)


@pytest.mark.parametrize("model", [MODEL, LocalClassifier(num_classes=5, **SMALL)])
def test_classifier_file(model, tmp_path):
    blank = jnp.zeros((1, 32, 32, 3))
    variables = random_variables(model, blank, blank)
    path = tmp_path / "c.safetensors"
    facts = {"classes": list("abcde"), "accuracy": 0.5}
    save_classifier(path, Network(model, variables), facts)
    loaded = load_classifier(path)
    assert (
        loaded.network.module == model
        and loaded.names == tuple("abcde")
        and trees.load(path)[1]["accuracy"] == 0.5
    )
    found = loaded.network.variables
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(variables), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
    assert loaded.sign == 1
    save_classifier(path, Network(model, variables), facts | {"sign": -1})
    assert load_classifier(path).sign == -1
    trees.save(tmp_path / "other.safetensors", {"a": np.zeros(1)}, {"kind": "directions"})
    with pytest.raises(UserError, match="not a Diff-CAM classifier"):
        load_classifier(tmp_path / "other.safetensors")
