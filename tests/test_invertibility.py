"""Networks of invertibility decomposition: alignment with known answers, the masks' pyramid, and
published sizes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.editing import decomposition
from diffcam_jax.editing.alignment import MOBILE, aligner_for
from diffcam_jax.losses import masks as mask_losses
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.invertibility import Aligner, BicubicEncoder4Editing, SpatialAlignment, merge
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from tests.fast import fast
from tests.random_variables import random_variables
from tests.small_decomposition import NARROW, fixed, pictures

masks = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2)


@given(masks)
@settings(max_examples=50, deadline=None)
def test_merged_masks_stay_masks(pair):
    m, n = pair
    merged = float(merge(jnp.float32(m), jnp.float32(n)))
    assert 0 <= merged <= 1
    np.testing.assert_allclose(merged, m * n + m - m * m, atol=1e-6)
    assert (
        merged == 0 or m > 0
    )  # what a coarse level gives back to the generator, no finer one takes


def test_fusion_of_a_pyramid():
    coarse = np.array([[0.0, 1.0], [0.0, 1.0]])
    fine = np.tile([0.5, 0.5, 1.0, 0.25], (4, 1))
    wide = np.tile([0.0, 0.25, 0.75, 1.0], (4, 1))  # bilinear between half-pixel centres
    fused = decomposition.fuse([jnp.asarray(a[None], jnp.float32) for a in (coarse, fine)], 4)
    np.testing.assert_allclose(fused[0], wide * (1 + fine - wide), atol=1e-6)


def test_losses_of_masks():
    flat = [jnp.full((2, 4, 4), 0.5), jnp.full((2, 8, 8), 0.1)]
    assert float(mask_losses.area_loss(flat, (0.3, 0.2))) == pytest.approx(0.2)
    assert float(mask_losses.binary_loss(flat)) == pytest.approx(0.6)
    assert float(mask_losses.binary_loss([jnp.asarray([[[0.0, 1.0]]])])) == 0


def test_features_are_moved_by_whole_pixels():
    """A shift of one pixel and a mask of 1, away from the border that the blur reaches."""
    module = SpatialAlignment(normalised=False, cycles=1, align_corners=True)
    x, y = (
        jnp.asarray(np.random.default_rng(i).standard_normal((2, 33, 33, 4)), jnp.float32)
        for i in (0, 1)
    )
    level = random_variables(module, x, y)["params"]
    aligner = Network(Aligner((33,), (4,), (4,)), {"params": {"level_0": level}})
    one = float(np.arctanh(2 / 32 / 0.08))
    params = fixed(aligner, (one, 0.0), 40.0).variables["params"]["level_0"]
    moved, field = fast(module.apply)({"params": params}, x, y)
    np.testing.assert_allclose(moved[:, 2:-2, 2:-3], x[:, 2:-2, 3:-2], atol=1e-4)
    np.testing.assert_allclose(
        field[:, 2:-2, 2:-2], np.broadcast_to([2 / 32, 0, 1], (2, 29, 29, 3)), atol=1e-6
    )


def test_comparing_in_fewer_channels_is_the_same_when_nothing_is_lost():
    x, y = (
        jnp.asarray(np.random.default_rng(i).standard_normal((1, 8, 8, 4)), jnp.float32)
        for i in (0, 1)
    )
    coarser = jnp.asarray(np.random.default_rng(2).uniform(0, 1, (1, 4, 4, 3)), jnp.float32)
    variables = random_variables(SpatialAlignment(), x, y)
    narrow = {"params": variables["params"] | {"reduce": {"kernel": jnp.eye(4)}}}
    expected = fast(SpatialAlignment().apply)(variables, x, y, coarser)
    for ours, theirs in zip(fast(SpatialAlignment(4).apply)(narrow, x, y, coarser), expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_limits_of_the_field():
    x, y = (
        jnp.asarray(np.random.default_rng(i).standard_normal((1, 16, 16, 4)), jnp.float32)
        for i in (0, 1)
    )
    module = SpatialAlignment(cycles=3)
    variables = jax.tree.map(lambda leaf: 10 * leaf, random_variables(module, x, y))
    _, field = fast(module.apply)(variables, x, y)
    assert (
        np.abs(field[..., :2]).max() <= 0.08
        and field[..., 2].min() >= 0
        and field[..., 2].max() <= 1
    )
    assert np.ptp(field[..., 2]) > 0.5


def test_the_forks_pyramid():
    """The coarsest rows are those of e4e.

    The others read maps that were enlarged in another way.
    """
    arguments, images = (6, 32, 6, (1, 1, 1, 1), (4, 4, 6, 8), 2, 8), pictures(side=32)
    variables = random_variables(Encoder4Editing(*arguments), images)
    theirs, forked = (
        np.asarray(fast(encoder(*arguments).apply)(variables, images))
        for encoder in (Encoder4Editing, BicubicEncoder4Editing)
    )
    np.testing.assert_allclose(forked[:, :3], theirs[:, :3], atol=1e-5)
    assert np.abs(forked[:, 3:] - theirs[:, 3:]).max() > 1e-3  # rows that read what was enlarged


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def initial(aligner):
    maps = [
        [jnp.zeros((1, 4, 4, c)) for c in group] for group in (aligner.features, aligner.inputs)
    ]
    return jax.eval_shape(aligner.init, jax.random.key(0), *maps)["params"]


def test_parameter_counts_of_the_release():
    params = initial(Aligner())
    levels = {name: leaf for name, leaf in params.items() if name.startswith("level_")}
    # Two numbers that nothing reads are in each official module besides.
    assert size(levels) + 2 * 4 == 43_751_560
    assert size(params) - size(levels) == 222_592
    encoder = BicubicEncoder4Editing()
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))
    assert round(size(shapes["params"]) / 1e6, 3) == 267.137


def test_the_embedded_variant_fits_two_megabytes_in_half_precision():
    aligner = aligner_for(
        MobileStyleGAN(), MobileEncoder(), MOBILE, **NARROW | {"multiplier": 1 / 8}
    )
    assert aligner.sides == (32, 64, 128, 256) and aligner.features == (512, 512, 256, 128)
    assert aligner.inputs == (96, 32, 24, 16)
    assert 2 * size(initial(aligner)) < 2e6


def test_a_path_from_coarse_maps_to_fine_ones():
    """It adds nothing at first.

    Then a fine level's map depends on the coarse one, and never the other way round.
    """
    plain, told = (
        Aligner((4, 8), (6, 4), (5, 3), 0.5, normalised=False, pyramid=width) for width in (0, 7)
    )
    maps = [
        jnp.asarray(np.random.default_rng(i).standard_normal((1, s, s, c)), jnp.float32)
        for i, (s, c) in enumerate([(4, 5), (8, 3)])
    ]
    params = jax.jit(told.init, static_argnames="method")(jax.random.key(0), maps, method="encode")[
        "params"
    ]
    own = {name: leaf for name, leaf in params.items() if name.startswith("encoded")}
    for ours, theirs in zip(
        told.apply({"params": params}, maps, method="encode"), plain_maps(own, maps), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    given = jax.tree.map(
        lambda x: jnp.asarray(np.random.default_rng(9).standard_normal(x.shape), jnp.float32),
        params,
    )

    def encoded(*maps):
        return told.apply({"params": given}, list(maps), method="encode")

    changes = jax.jacobian(encoded)(*maps), jax.jacobian(encoded, 1)(*maps)
    (coarse_by_coarse, fine_by_coarse), (coarse_by_fine, _) = changes
    assert jnp.abs(coarse_by_coarse).max() > 0 and jnp.abs(fine_by_coarse).max() > 0
    assert jnp.abs(coarse_by_fine).max() == 0
    assert (
        "lateral_0"
        not in jax.eval_shape(lambda: plain.init(jax.random.key(0), maps, method="encode"))[
            "params"
        ]
    )


def plain_maps(params, maps):
    return [
        x @ params[f"encoded_{i}"]["kernel"] + params[f"encoded_{i}"]["bias"]
        for i, x in enumerate(maps)
    ]
