"""FID's Inception: its pools by their definition, its layout by official names, the published
weights against their own program.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts.inception import inception
from diffcam_jax.files import trees
from diffcam_jax.nn.inception import InceptionV3, average_pool3, fid_resize
from diffcam_jax.ops.pool import max_pool
from diffcam_jax.pretrained import parts, store
from diffcam_jax.pretrained.converters import _inception_path
from tests.random_variables import random_variables


def variable_shapes(model):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 299, 299, 3))))


def windows(x, stride, pad):
    """Every 3x3 neighbourhood: NaN outside the picture."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=np.nan)
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::stride, ::stride]


def test_pools_leave_the_padding_out():
    x = np.random.default_rng(0).standard_normal((2, 6, 9, 3)).astype(np.float32) - 3
    np.testing.assert_allclose(
        average_pool3(jnp.asarray(x)), np.nanmean(windows(x, 1, 1), (-2, -1)), atol=1e-6
    )
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), 3), np.max(windows(x, 2, 0), (-2, -1)))
    np.testing.assert_array_equal(
        max_pool(jnp.asarray(x), 3, 1, 1), np.nanmax(windows(x, 1, 1), (-2, -1))
    )


@pytest.mark.parametrize("size", [96, 512])
def test_the_resize_is_bilinear(size):
    rows = np.arange(size, dtype=np.float32)
    picture = np.broadcast_to(rows[:, None, None] + 1000 * rows[:, None], (1, size, size, 3))
    centres = np.clip(
        (np.arange(299) + 0.5) * size / 299 - 0.5, 0, size - 1
    )  # linear in between, constant beyond
    expected = centres[:, None] + 1000 * centres
    resized = fid_resize(jnp.asarray(picture))
    assert resized.shape == (1, 299, 299, 3)
    np.testing.assert_allclose(resized[0, ..., 1], expected, rtol=1e-5, atol=0.01)


def test_the_resize_takes_two_neighbours_however_large_the_picture():
    picture = jnp.zeros((1, 598, 598, 3)).at[0, 100, 101].set(1.0)
    resized = np.array(fid_resize(picture))
    np.testing.assert_allclose(resized[0, 50, 50], 0.25, atol=1e-6)
    resized[0, 50, 50] = 0
    np.testing.assert_array_equal(resized, 0)


def test_size_taps_and_head():
    def run(model):
        return jax.eval_shape(
            lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 299, 299, 3)))
        )

    (features, taps), variables = run(InceptionV3())
    assert features.shape == (2, 2048)
    assert {name: tap.shape for name, tap in taps.items()} == {
        "block0": (2, 73, 73, 64),
        "block1": (2, 35, 35, 192),
        "block2": (2, 17, 17, 768),
    }
    # 21.80 M as the archive of the published weights counts them: it has no scales.
    scales = sum(
        x.size for p, x in jax.tree_util.tree_leaves_with_path(variables) if p[-1].key == "scale"
    )
    assert sum(x.size for x in jax.tree.leaves(variables)) - scales == 21_802_784
    (_, taps), variables = run(InceptionV3(num_classes=1008))
    assert taps["logits"].shape == (2, 1008)
    assert variables["params"]["fc"]["kernel"].shape == (2048, 1008)


def test_layout_has_the_official_names():
    layout = inception({"fc.weight": (1008, 2048)})
    assert layout.module == InceptionV3(num_classes=1008)
    sources = {source.key: shape for source, shape in layout.sources.values()}
    assert len(sources) == 94 * 5 + 2
    official = {
        "Conv2d_1a_3x3.conv.weight": (3, 3, 3, 32),
        "Conv2d_3b_1x1.bn.running_var": (80,),
        "Mixed_5c.branch5x5_2.conv.weight": (5, 5, 48, 64),
        "Mixed_6a.branch3x3dbl_3.bn.bias": (96,),
        "Mixed_6c.branch7x7_2.conv.weight": (1, 7, 160, 160),
        "Mixed_6c.branch7x7dbl_2.conv.weight": (7, 1, 160, 160),
        "Mixed_7a.branch7x7x3_4.conv.weight": (3, 3, 192, 192),
        "Mixed_7b.branch3x3dbl_3a.conv.weight": (1, 3, 384, 384),
        "Mixed_7c.branch3x3_2b.conv.weight": (3, 1, 384, 384),
        "Mixed_7c.branch_pool.bn.weight": (192,),
        "fc.weight": (2048, 1008),
    }
    assert {key: sources.get(key) for key in official} == official


def test_layout_goes_both_ways_and_refuses_the_other_inception():
    layout = inception({})
    assert layout.module == InceptionV3()
    state = layout.export(random_variables(InceptionV3(), jnp.zeros((1, 75, 75, 3))))
    shapes = {key: array.shape for key, array in state.items()}
    counter = {"Mixed_5b.branch1x1.bn.num_batches_tracked": ()}
    assert inception(shapes | counter).faults(shapes | counter) == []
    again = layout.export(layout.convert(state))
    assert all(np.array_equal(again[key], state[key]) for key in state)
    (fault,) = layout.faults(shapes | {"AuxLogits.conv0.conv.weight": (128, 768, 1, 1)})
    assert fault.startswith("AuxLogits.conv0.conv.weight is left over")


@pytest.mark.parametrize(
    ("archived", "ours"),
    [
        ("conv_4", "conv2d_4a_3x3"),
        ("mixed.conv", "mixed_5b/branch1x1"),
        ("mixed_2.tower_1.conv_2", "mixed_5d/branch3x3dbl_3"),
        ("mixed_3.conv", "mixed_6a/branch3x3"),
        ("mixed_3.tower.conv", "mixed_6a/branch3x3dbl_1"),
        ("mixed_4.tower_1.conv_3", "mixed_6b/branch7x7dbl_4"),
        ("mixed_7.tower_2.conv", "mixed_6e/branch_pool"),
        ("mixed_8.tower_1.conv_3", "mixed_7a/branch7x7x3_4"),
        ("mixed_9.tower_1_conv_1", "mixed_7b/branch3x3dbl_2"),
        ("mixed_10.tower_1_mixed_conv_1", "mixed_7c/branch3x3dbl_3b"),
        ("mixed_10.tower_mixed_conv", "mixed_7c/branch3x3_2a"),
    ],
)
def test_names_of_the_packaged_archive(archived, ours):
    assert "/".join(_inception_path(archived)) == ours


def test_other_archives_are_not_taken_for_it():
    for name in ("conv_9x", "layer1.conv", "mixed_3.pool"):
        with pytest.raises(ValueError, match=name):
            _inception_path(name)


@pytest.mark.weights
def test_the_published_weights_give_what_their_own_program_gives():
    variables, metadata = store.load_pretrained("inception")
    assert (
        trees.tree_hash(variables)
        == "9ec565469c9b6a5d59ae3281c0358b02a8f8fec60abb946aed94764e38216392"
    )
    assert metadata["archive_sha256"] == parts.PARTS["inception"].archive.sha256
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, variable_shapes(InceptionV3())
    )
    row, column, channel = np.ogrid[:299, :299, :3]
    picture = np.sin(0.05 * row + 0.03 * column * (channel + 1)).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        features = np.asarray(jax.jit(InceptionV3().apply)(variables, picture[None])[0][0])
    # Computed once by the archive's TorchScript program in PyTorch 2.13.
    first = [0.16913524, 0.64336675, 0.0, 0.01987366, 0.39496878, 0.81232572, 0.98600852, 0.0]
    np.testing.assert_allclose(features[:8], first, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(features), 24.410803, rtol=1e-5)
    np.testing.assert_allclose(features.mean(), 0.309026, rtol=1e-5)
    assert features.argmax() == 102
