"""`edit_batch` on a tiny generator and classifier: the laws an edit must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import MaskConfig
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.diffcam import diff_cam
from diffcam_jax.editing.edit import Edits, edit_batch
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster, Views
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize
from tests.random_variables import random_variables

GENERATOR = MobileStyleGAN(
    widths=(16, 16, 16, 16, 8), latent_size=8, mapping_layers=1
)  # 128 pixels
CLASSIFIER = DiffClassifier(depth=18, width=4, num_classes=3, split=1)
CONFIG = EditConfig(classifier_size=64)
ROWS = 18


@pytest.fixture(scope="module")
def world():
    picture = jnp.zeros((1, 64, 64, 3))
    generator = Network(GENERATOR, random_variables(GENERATOR, jnp.zeros((1, 8))))
    judging = random_variables(CLASSIFIER, picture, picture)
    # Positive weights over positive activations: every map has something to show.
    judging["params"]["fc"]["kernel"] = jnp.abs(judging["params"]["fc"]["kernel"])
    classifier = Classifier(Network(CLASSIFIER, judging))
    images = jax.random.uniform(jax.random.key(1), (2, 128, 128, 3), minval=-1)
    codes = jax.random.normal(jax.random.key(2), (2, ROWS, 8))
    directions = 2 * jax.random.normal(jax.random.key(3), (2, ROWS, 8))
    return Pipeline(generator, classifier), images, codes, directions


def run(world, strengths, classes=(0, 2), config=CONFIG, user_mask=None, rows=slice(None)):
    networks, images, codes, directions = world
    strengths = jnp.asarray(strengths, jnp.float32)
    chosen = directions[: strengths.shape[1]]
    edits = Edits(chosen, strengths, jnp.asarray(classes[: strengths.shape[1]], jnp.int32))
    return edit_batch(networks, images[rows], codes[rows], edits, config, user_mask)


@jax.jit
def draw(networks, codes):
    return networks.generator(codes, method="synthesis")


def test_shapes_and_ranges(world):
    edit = run(world, [[1.0, 0.5], [1.0, -1.0]])
    assert edit.edited.shape == edit.fused.shape == (2, 128, 128, 3)
    assert edit.mask.shape == (2, 128, 128) and edit.logits.shape == (2, 2, 3)
    assert float(edit.mask.min()) >= 0 and float(edit.mask.max()) <= 1
    assert float(jnp.abs(edit.fused).max()) <= 1


def test_outside_the_mask_is_the_original_bit_for_bit(world):
    config = EditConfig(
        classifier_size=64,
        mask=MaskConfig(low=0.5, high=0.8, dilation=1, feather=2, resize="bilinear"),
    )
    edit = run(world, [[1.0], [1.0]], config=config)
    outside = np.asarray(edit.mask) == 0
    assert 0.05 < outside.mean() < 0.95
    np.testing.assert_array_equal(np.asarray(edit.fused)[outside], np.asarray(world[1])[outside])


def test_codes_and_pictures_are_those_of_the_generator(world):
    networks, _, codes, directions = world
    edit = run(world, [[0.5, 1.0], [0.0, -1.0]])
    expected = (
        codes
        + jnp.array([0.5, 0.0])[:, None, None] * directions[0]
        + jnp.array([1.0, -1.0])[:, None, None] * directions[1]
    )
    np.testing.assert_allclose(edit.codes, expected, atol=1e-5)
    np.testing.assert_allclose(edit.edited, draw(networks, expected).clip(-1, 1), atol=1e-4)
    np.testing.assert_allclose(edit.inverted, draw(networks, codes).clip(-1, 1), atol=1e-4)


def test_strength_zero_changes_nothing(world):
    edit = run(world, [[0.0, 0.0], [0.0, 0.0]])
    assert not np.asarray(edit.mask).any()
    np.testing.assert_array_equal(edit.fused, world[1])


def test_final_mask_is_the_maximum_over_the_neighbouring_pairs(world):
    """Section 3.6, written out with three calls of `diff_cam`."""
    networks, _, codes, directions = world
    edit = run(world, [[1.0, 1.0], [1.0, 1.0]])
    t = [codes, codes + directions[0], codes + directions[0] + directions[1]]
    small = [resize(draw(networks, c), (64, 64), "area") for c in t]
    masks = [
        diff_cam(networks.classifier, small[i], small[i + 1], jnp.full(2, c, jnp.int32)).mask
        for i, c in enumerate((0, 2))
    ]
    expected = np.repeat(np.repeat(np.maximum(*masks), 2, 1), 2, 2)  # nearest, the official default
    np.testing.assert_allclose(edit.mask, expected, atol=2e-3)


def test_a_negative_strength_swaps_the_pair(world):
    networks, _, codes, directions = world
    edit = run(world, [[-1.0], [-1.0]])
    before, after = (
        resize(draw(networks, c), (64, 64), "area") for c in (codes, codes - directions[0])
    )
    expected = diff_cam(networks.classifier, after, before, jnp.zeros(2, jnp.int32))
    np.testing.assert_allclose(edit.logits[:, 0], expected.logits, atol=1e-3)


def test_the_small_deghosting_network_sees_the_whole_edit(world):
    """Its picture, from what the edit itself returns, takes the place of the photograph in a region
    around the mask.
    """
    networks, images, codes, _ = world
    module = MobileDeghoster(in_size=64, out_size=128, widths=(4, 4, 4, 4), prior_side=8, rank=2)
    pictures = [jnp.zeros((1, 64, 64, 3))] * 4
    blank = Views(*pictures, jnp.zeros((1, 64, 64)), codes[:1])
    variables = random_variables(module, blank, *networks.generator)
    network = Network(module, variables)
    config = EditConfig(classifier_size=64, mask=MaskConfig(low=0.5, high=0.8))
    edit = run((networks.replace(deghoster=network), *world[1:]), [[1.0], [1.0]], config=config)
    views = Views(edit.fused, images, edit.inverted, edit.edited, edit.mask, edit.codes)
    expected = jax.jit(lambda v, x, prior: module.apply(v, x, GENERATOR, prior))(
        variables, views, networks.generator.variables
    )
    np.testing.assert_allclose(edit.deghosted, expected.clip(-1, 1), atol=1e-4)
    np.testing.assert_array_equal(edit.source, edit.deghosted)
    assert np.abs(edit.deghosted - edit.fused).mean() > 0.05
    region, mask = np.asarray(edit.paste_mask), np.asarray(edit.mask)
    assert (
        (region[mask > 0.5] > 0.9).all()
        and (region > 0).mean() > (mask > 0).mean()
        and (region == 0).any()
    )


def test_user_mask_confines_or_extends(world):
    half = jnp.zeros((2, 128, 128)).at[:, :, :64].set(1.0)
    inside = run(world, [[1.0], [1.0]], user_mask=half)
    assert not np.asarray(inside.mask)[:, :, 64:].any()
    union = run(
        world,
        [[1.0], [1.0]],
        config=EditConfig(classifier_size=64, user_mask="union"),
        user_mask=half,
    )
    assert (np.asarray(union.mask)[:, :, :64] == 1).all()


def test_a_batch_is_its_samples(world):
    together = run(world, [[1.0], [0.5]])
    alone = run(world, [[0.5]], rows=slice(1, 2))
    np.testing.assert_allclose(together.edited[1:], alone.edited, atol=1e-4)
    np.testing.assert_allclose(together.mask[1:], alone.mask, atol=5e-3)


@pytest.mark.parametrize("method", ["grad_cam", "cam"])
def test_baselines_share_the_interface(world, method):
    edit = run(world, [[1.0], [1.0]], config=EditConfig(classifier_size=64, method=method))
    assert np.isfinite(np.asarray(edit.fused)).all()
