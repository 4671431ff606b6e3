"""`edit_batch` by invertibility decomposition, and by Diff-CAM that leaves alone what is out of
domain.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import MaskConfig
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.decomposition import domain_mask
from diffcam_jax.editing.edit import Edits, edit_batch
from diffcam_jax.editing.pipeline import AlignmentNetwork, Pipeline
from diffcam_jax.errors import UserError
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster, Views
from diffcam_jax.nn.network import Network
from tests.random_variables import random_variables
from tests.small_decomposition import (
    MOBILE,
    MOBILE_ENCODER,
    NARROW,
    ROWS,
    SIDE,
    WIDTH,
    decomposed,
    fast,
    fixed,
    networks,
    pictures,
)

CLASSIFIER = DiffClassifier(depth=18, width=4, num_classes=3, split=1, strides=(1, 2, 2, 1))
# Low thresholds: the masks that are fixed at 1 fade towards the border, where the network blurs
# them.
DOMAIN = MaskConfig(low=0.1, high=0.25, dilation=1, feather=2)
CONFIG = EditConfig(
    classifier_size=SIDE, mask=MaskConfig(low=0.2, high=0.8), domain=DOMAIN, user_mask="union"
)
ANY = networks(MOBILE, MOBILE_ENCODER, **NARROW)
IMAGES = pictures(2, SIDE)
RNG = np.random.default_rng(6)
CODES = jnp.asarray(RNG.standard_normal((2, ROWS, WIDTH)), jnp.float32)
DIRECTIONS = jnp.asarray(RNG.standard_normal((2, ROWS, WIDTH)), jnp.float32)
STRENGTHS = jnp.asarray([[1.0, -0.5], [0.5, 2.0]], jnp.float32)
NOWHERE = jnp.zeros((2, SIDE, SIDE))
LEFT = NOWHERE.at[:, :, : SIDE // 2].set(1.0)


def fainter(aligner, by):
    """The same with masks whose logits are lower: random networks leave nothing of a picture to the
    edit.
    """
    variables = jax.tree.map(lambda leaf: leaf, aligner.variables)
    for name, level in variables["params"].items():
        if name.startswith("level_"):
            shortcut = level["network"]["block_1"]["shortcut"]
            shortcut["bias"] = shortcut["bias"].at[2].add(-by)
    return aligner.replace(variables=variables)


NETWORKS = ANY.replace(aligner=fainter(ANY.aligner, 4.0))
EVERYTHING, NOTHING = (fixed(ANY.aligner, (0.3, -0.2), mask) for mask in (60.0, -60.0))
edited = fast(edit_batch.__wrapped__, static_argnames="config")


@pytest.fixture(scope="module")
def run():
    """Edits with every network there is; the user's mask is added to the others."""
    picture, maps = jnp.zeros((1, SIDE, SIDE, 3)), jnp.zeros((1, SIDE, SIDE))
    judging = random_variables(CLASSIFIER, picture, picture)
    # Positive weights over positive activations: every map has something to show.
    judging["params"]["fc"]["kernel"] = jnp.abs(judging["params"]["fc"]["kernel"])
    network = MobileDeghoster(in_size=SIDE, out_size=SIDE, widths=(4, 4, 4), prior_side=8, rank=2)
    blank = Views(*[picture] * 4, maps, CODES[:1])
    pipeline = Pipeline(
        NETWORKS.generator,
        Classifier(Network(CLASSIFIER, judging)),
        NETWORKS.encoder,
        Network(network, random_variables(network, blank, *NETWORKS.generator)),
    )

    def run(method, aligner=NETWORKS.aligner, strengths=STRENGTHS, by_hand=NOWHERE, **choices):
        config = dataclasses.replace(CONFIG, method=method, **choices)
        whole = pipeline.replace(aligner=AlignmentNetwork(aligner, NETWORKS.settings))
        edits = Edits(DIRECTIONS, strengths, jnp.asarray([0, 2]))
        return edited(whole, IMAGES, CODES, edits, config, by_hand)

    return run


@pytest.fixture(scope="module")
def whole():
    """The decomposition of pictures that are not edited."""
    return decomposed(NETWORKS, IMAGES, jnp.zeros_like(CODES), CODES)


def test_where_everything_is_out_of_domain_the_photograph_stays_bit_for_bit(run):
    edit = run("both", EVERYTHING)
    assert (np.asarray(edit.domain) == 1).all() and (np.asarray(edit.cam_mask) > 0.5).any()
    assert not np.asarray(edit.mask).any() and not np.asarray(edit.paste_mask).any()
    np.testing.assert_array_equal(edit.fused, IMAGES)


def test_where_nothing_is_out_of_domain_the_edit_is_that_of_diff_cam_bit_for_bit(run):
    both, alone = (run(method, NOTHING) for method in ("both", "diffcam"))
    assert not np.asarray(both.domain).any() and alone.domain is None and alone.cam_mask is None
    np.testing.assert_array_equal(both.cam_mask, alone.mask)
    for name in set(both._fields) - {"domain", "cam_mask"}:
        np.testing.assert_array_equal(getattr(both, name), getattr(alone, name), err_msg=name)


def test_the_edit_acts_where_diff_cam_finds_it_and_the_generator_can_draw(run, whole):
    """min(M, 1 - m) with m after contrast, dilation and feather, by SciPy."""
    edit, alone = run("both"), run("diffcam")
    grown = np.clip((np.asarray(whole.mask) - DOMAIN.low) / (DOMAIN.high - DOMAIN.low), 0, 1)
    grown = ndimage.maximum_filter(grown, (1, 3, 3), mode="nearest")
    for axis in (1, 2, 1, 2):
        grown = ndimage.uniform_filter1d(grown, 3, axis, mode="nearest")
    np.testing.assert_allclose(edit.domain, grown, atol=1e-3)
    np.testing.assert_allclose(edit.mask, np.minimum(alone.mask, 1 - grown), atol=1e-3)
    np.testing.assert_allclose(edit.cam_mask, alone.mask, atol=1e-5)
    taken = np.asarray(alone.mask - edit.mask) > 0.05
    assert taken.mean() > 0.05 and (np.asarray(edit.mask) > 0.5).mean() > 0.05
    weight = np.asarray(edit.mask)[..., None]
    out, region = np.asarray(edit.domain) == 1, np.asarray(edit.paste_mask)
    # Deghosting enlarges the region of the edit, but not beyond the domain.
    assert out.mean() > 0.02 and not region[out].any() and (region > weight[..., 0] + 0.1).any()
    np.testing.assert_array_equal(np.asarray(edit.fused)[out], np.asarray(IMAGES)[out])


def test_strength_zero_changes_nothing(run):
    edit = run("both", strengths=jnp.zeros((2, 2)))
    assert not np.asarray(edit.mask).any()
    np.testing.assert_array_equal(edit.fused, IMAGES)


def test_the_networks_have_to_be_there():
    networks = Pipeline(Network(MOBILE, {}), Classifier(Network(CLASSIFIER, {})))
    edits = Edits(DIRECTIONS, STRENGTHS, jnp.asarray([0, 2]))
    with pytest.raises(UserError, match="method invertibility needs an alignment network"):
        edited(networks, IMAGES, CODES, edits, EditConfig(method="invertibility"))


def test_the_users_mask_adds_what_is_out_of_domain(run):
    edit = run("both", EVERYTHING, by_hand=LEFT)
    np.testing.assert_array_equal(edit.mask, LEFT)
    np.testing.assert_array_equal(edit.paste_mask, LEFT)


def test_invertibility_is_the_published_blend(run):
    """m x + (1 - m) G of the edited code, the picture clamped, and nothing of Diff-CAM's.

    Here confined to the left.
    """
    edit = run("invertibility", by_hand=LEFT, user_mask="intersection")
    delta = (
        STRENGTHS[:, 0, None, None] * DIRECTIONS[0] + STRENGTHS[:, 1, None, None] * DIRECTIONS[1]
    )
    found = decomposed(NETWORKS, IMAGES, delta, CODES)
    m, drawn = np.asarray(found.mask), np.asarray(found.generated).clip(-1, 1)
    assert 0.05 < m.mean() < 0.95 and np.ptp(m) > 0.1
    acts = (1 - m) * np.asarray(LEFT)
    np.testing.assert_allclose(edit.domain, m, atol=1e-4)
    np.testing.assert_allclose(edit.mask, acts, atol=1e-4)
    np.testing.assert_allclose(edit.source, drawn, atol=1e-3)
    np.testing.assert_allclose(
        edit.fused, acts[..., None] * drawn + (1 - acts[..., None]) * IMAGES, atol=1e-3
    )
    np.testing.assert_allclose(edit.codes, CODES + delta, atol=1e-5)
    plain = fast(lambda g, w: g(w, method="synthesis"))(NETWORKS.generator, CODES)
    np.testing.assert_allclose(edit.inverted, np.clip(plain, -1, 1), atol=1e-4)
    np.testing.assert_array_equal(edit.paste_mask, edit.mask)
    assert edit.logits is None and edit.deghosted is None and edit.cam_mask is None


def test_the_mask_alone_is_that_of_the_whole_on_the_grid_of_the_finest_level(whole):
    mask = fast(domain_mask, static_argnames="size")
    ours = mask(NETWORKS, IMAGES, CODES, SIDE // 2)
    coarse, fine = (np.asarray(field[..., 2], np.float64) for field in whole.fields)
    position = np.clip((np.arange(SIDE // 2) + 0.5) / 2 - 0.5, 0, SIDE // 4 - 1)
    larger = np.stack(
        [
            ndimage.map_coordinates(m, np.meshgrid(position, position, indexing="ij"), order=1)
            for m in coarse
        ]
    )
    np.testing.assert_allclose(ours, larger * (1 + fine - larger), atol=1e-5)
