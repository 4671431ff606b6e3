"""Deghosting network: parameter counts of the release, pixel shuffle, dense blocks, what reaches
the output, the layout.
"""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import print_saved_residuals

from convert_weights.layouts.deghosting import deghosting
from diffcam_jax.errors import UserError
from diffcam_jax.nn.deghosting import Deghoster
from diffcam_jax.nn.rrdb import DenseBlock, ResidualDenseBlocks, RRDBNet
from diffcam_jax.ops.pixel_shuffle import pixel_shuffle
from tests.random_variables import random_variables

TINY = {
    "latent_size": 6,
    "mapping_layers": 2,
    "blocks": 2,
    "rrdb_width": 8,
    "growth": 4,
    "image_width": 5,
}


def tiny(in_size=16, widths=(8, 8, 6, 4, 2)):
    """16 -> 64 px by default."""
    return Deghoster(in_size, widths, **TINY)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts_of_the_release():
    shapes = jax.eval_shape(Deghoster().init, jax.random.key(0), jnp.zeros((1, 128, 128, 3)))
    prior = shapes["params"].pop("generator")
    # Left out: six 3x3 convolutions from a map and a picture to a picture, five of 512 channels and
    # one of 256.
    unused = 5 * (9 * (512 + 3) * 3 + 3) + 9 * (256 + 3) * 3 + 3
    assert size(shapes["params"]) + unused == 143_826_555
    assert size(prior) == 30_370_060
    assert size(shapes["noise"]) == 16 + 2 * sum(4**i for i in range(3, 11))
    assert Deghoster().num_styles == 18 and Deghoster().out_size == 1024


def test_pixel_shuffle_puts_blocks_of_channels_side_by_side():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 12)).astype(np.float32)
    picture = np.empty((2, 6, 10, 3), np.float32)
    for i in range(2):
        for j in range(2):
            picture[:, i::2, j::2] = x[..., 3 * (2 * i + j) : 3 * (2 * i + j + 1)]
    np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(x)), picture)


def test_residual_weights():
    """With zero kernels a dense block adds a fifth of its last bias, and the three together a fifth
    of what they give.
    """
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
    zeros = jax.tree.map(
        jnp.zeros_like, jax.eval_shape(ResidualDenseBlocks(4).init, jax.random.key(0), x)
    )
    for name in ("rdb1", "rdb2", "rdb3"):
        zeros["params"][name]["conv5"]["bias"] = jnp.full(8, 5.0)
    np.testing.assert_allclose(ResidualDenseBlocks(4).apply(zeros, x), 1.2 * x + 0.6, rtol=1e-6)


def test_dense_block_reads_everything_before():
    """One pixel: only the kernels' middles count, and a block is a chain of matrix products."""
    x = jax.random.normal(jax.random.key(0), (3, 1, 1, 8))
    variables = random_variables(DenseBlock(4), x)
    features = np.asarray(x, np.float64)[:, 0, 0]
    inputs = features
    for i in range(1, 6):
        layer = variables["params"][f"conv{i}"]
        out = features @ np.asarray(layer["kernel"], np.float64)[1, 1] + np.asarray(layer["bias"])
        features = np.concatenate([features, np.where(out > 0, out, 0.2 * out)], axis=1)
    with jax.default_matmul_precision("highest"):
        ours = DenseBlock(4).apply(variables, x)[:, 0, 0]
    np.testing.assert_allclose(ours, inputs + 0.2 * out, atol=1e-5)


def test_gradients_reach_every_trained_parameter_and_no_other():
    model = tiny()
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3), minval=-1)
    variables = random_variables(model, images)
    output = jax.jit(model.apply)(variables, images)
    assert output.shape == (2, 64, 64, 3) and output.dtype == jnp.float32 and np.ptp(output) > 0

    def loss(params):
        return jnp.sum(model.apply({"params": params, "noise": variables["noise"]}, images) ** 2)

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    unused = {
        f"{path[0].key}/{path[1].key}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.any(leaf)
    }
    assert {name.rstrip("_0123456789") for name in unused} == {
        f"generator/{x}" for x in ("dense", "to_rgb", "to_rgbs")
    }


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (1, 16, 8, 3)])
def test_pictures_of_another_size_are_refused(shape):
    model = tiny()
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match=r"pictures must be \[b, 16, 16, 3\], got"):
        jax.eval_shape(model.apply, variables, jnp.zeros(shape))


@pytest.mark.parametrize("in_size", [64, 24, 2])
def test_sizes_that_make_no_network_are_refused(in_size):
    with pytest.raises(
        ValueError,
        match=f"in_size {in_size}: it must be a power of two from 4 up, below the output's 64",
    ):
        jax.eval_shape(tiny(in_size).init, jax.random.key(0), jnp.zeros((1, in_size, in_size, 3)))


def official_shapes(in_size, widths, latent=6, mapping=2, blocks=2, rrdb=8, growth=4, last=5):
    """Keys and shapes of the released file for other sizes."""
    shapes = {}

    def conv(name, inputs, outputs, side=3):
        shapes[f"FCN.{name}.weight"], shapes[f"FCN.{name}.bias"] = (
            (outputs, inputs, side, side),
            (outputs,),
        )

    def styled(name, inputs, outputs, side):
        shapes[f"generator.{name}.conv.weight_orig"] = (1, outputs, inputs, side, side)
        shapes[f"generator.{name}.conv.style_modulation.linear.weight_orig"] = (inputs, latent)
        shapes[f"generator.{name}.conv.style_modulation.bias"] = (inputs,)

    levels = in_size.bit_length() - 2
    small, large = widths[:levels], widths[levels:]
    for name, inputs, outputs in (
        ("first", 3, rrdb),
        ("body", rrdb, rrdb),
        ("up", rrdb, small[-1]),
    ):
        conv(f"encoder.0.conv_{name}", inputs, outputs)
    for block, dense, i in itertools.product(range(blocks), (1, 2, 3), range(5)):
        conv(
            f"encoder.0.body.{block}.rdb{dense}.conv{i + 1}",
            rrdb + i * growth,
            rrdb if i == 4 else growth,
        )
    for i, (inputs, outputs) in enumerate(itertools.pairwise(reversed(small)), 1):
        conv(f"encoder.{i}.0", inputs, outputs)
        conv(f"encoder.{i}.2", outputs, outputs)
    conv(f"encoder.{levels}.0", small[0], small[0])
    rows = 2 * len(widths) * latent
    shapes |= {
        f"FCN.encoder.{levels}.3.weight": (rows, 16 * small[0]),
        f"FCN.encoder.{levels}.3.bias": (rows,),
    }
    for i, width in enumerate(small):
        conv(f"fusion_out.{i}", 2 * width, width)
        conv(f"fusion_skip.{i}", width + 3, 3)
    for i, width in enumerate(large):
        conv(f"decoder.{i}.upsample_conv", 2 * large[i - 1] if i else small[-1], 4 * width)
    conv(f"decoder.{len(large)}.0", 2 * large[-1], last)
    conv(f"decoder.{len(large)}.2", last, 3)

    for i in range(1, mapping + 1):
        shapes |= {
            f"generator.style_mapping.{i}.{k}": s
            for k, s in (("bias", (latent,)), ("linear.weight_orig", (latent,) * 2))
        }
    shapes["generator.constant_input.input"] = (1, widths[0], 4, 4)
    layers = [("conv1", widths[0], widths[0])]
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers += [(f"convs.{2 * i}", inputs, outputs), (f"convs.{2 * i + 1}", outputs, outputs)]
        shapes[f"generator.convs.{2 * i}.conv.blur.kernel"] = shapes[
            f"generator.to_rgbs.{i}.upsample.kernel"
        ] = (4, 4)
        styled(f"to_rgbs.{i}", outputs, 3, 1)
        shapes[f"generator.to_rgbs.{i}.bias"] = (1, 3, 1, 1)
    styled("to_rgb1", widths[0], 3, 1)
    shapes["generator.to_rgb1.bias"] = (1, 3, 1, 1)
    for i, (name, inputs, outputs) in enumerate(layers):
        styled(name, inputs, outputs, 3)
        shapes |= {
            f"generator.{name}.noise_injector.weight": (1,),
            f"generator.{name}.activate.bias": (outputs,),
        }
        shapes[f"generator.injected_noise_{i}"] = (
            1,
            1,
            2 ** (2 + (i + 1) // 2),
            2 ** (2 + (i + 1) // 2),
        )
    return shapes


@pytest.mark.parametrize(
    ("in_size", "widths"), [(16, (8, 8, 6, 4, 2)), (8, (7, 5, 4)), (32, (8, 8, 8, 8, 6, 4, 2))]
)
def test_layout_follows_from_the_shapes(in_size, widths):
    shapes = official_shapes(in_size, widths)
    layout = deghosting(shapes)
    assert layout.module == tiny(in_size, widths)
    assert layout.faults(shapes) == []
    gone = {key: shape for key, shape in shapes.items() if key != "FCN.fusion_out.1.bias"}
    assert [fault.split(" ")[0] for fault in layout.faults(gone)] == ["FCN.fusion_out.1.bias"]


def test_layout_keeps_the_meaning_of_a_pixel_shuffle():
    """torch: channel 4c + 2i + j of the convolution is row i and column j of output channel c."""
    layout = deghosting(official_shapes(16, (8, 8, 6, 4, 2)))
    bias = np.arange(16.0, dtype=np.float32)
    source = layout.source(("params", "up_0", "conv", "bias"))
    assert source.key == "FCN.decoder.0.upsample_conv.bias"
    ours = source.transform.forward(bias)
    picture = np.asarray(pixel_shuffle(jnp.asarray(ours)[None, None, None]))
    np.testing.assert_array_equal(picture[0].transpose(2, 0, 1), bias.reshape(4, 2, 2))
    np.testing.assert_array_equal(source.transform.inverse(ours), bias)
    kernel = layout.source(("params", "up_0", "conv", "kernel")).transform
    torch_kernel = np.arange(16 * 6 * 9.0).reshape(16, 6, 3, 3)
    np.testing.assert_array_equal(
        kernel.forward(torch_kernel)[1, 2, 5], source.transform.forward(torch_kernel[:, 5, 1, 2])
    )
    np.testing.assert_array_equal(kernel.inverse(kernel.forward(torch_kernel)), torch_kernel)


@pytest.mark.parametrize("missing", ["FCN.encoder.0.conv_first.weight", "FCN.decoder.2.0.weight"])
def test_files_without_the_sizes_are_refused(missing):
    shapes = official_shapes(16, (8, 8, 6, 4, 2))
    del shapes[missing]
    with pytest.raises(UserError, match=rf"{missing}' is missing"):
        deghosting(shapes)


def test_computing_blocks_twice_keeps_less_and_changes_nothing(capsys):
    images = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3))
    variables = random_variables(RRDBNet(4, 8, 4, 8), images)
    gradients, kept = {}, {}
    for remat in (False, True):

        def loss(v, remat=remat):
            return (RRDBNet(4, 8, 4, 8, remat).apply(v, images) ** 2).mean()

        gradients[remat] = jax.jit(jax.grad(loss))(variables)
        print_saved_residuals(loss, variables)
        maps = re.findall(r"f32\[1,16,16,(\d+)\]", capsys.readouterr().out)
        kept[remat] = sum(map(int, maps))
    # A block keeps its input of 8 channels; without, three times five concatenations of 8 to 40 and
    # what the slopes need.
    assert kept[True] < kept[False] / 10
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        gradients[True],
        gradients[False],
    )
