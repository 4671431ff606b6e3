"""pSp, e4e and ReStyle encoders: the pyramid, the heads, what the rows are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.irse import IRSE
from diffcam_jax.nn.psp import (
    GradualStyleEncoder,
    Halving,
    IntoW,
    IntoWPlus,
    Map2Style,
    upsample_add,
)
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder
from tests.random_variables import random_variables

RNG = np.random.default_rng(0)
SMALL = {"counts": (1, 1, 2, 1), "widths": (4, 6, 8, 12), "squeeze": 2}
TINY = GradualStyleEncoder(n_styles=9, size=64, width=12, **SMALL)


def pictures(*shape):
    return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


@pytest.fixture(scope="module")
def tiny():
    images = pictures(2, 64, 64, 3)
    return random_variables(TINY, images), images


@pytest.mark.parametrize(("shape", "size"), [((2, 3), (4, 6)), ((1, 4), (3, 7)), ((5, 5), (5, 5))])
def test_upsample_add_aligns_corners(shape, size):
    coarse, lateral = RNG.standard_normal((2, *shape, 3)), RNG.standard_normal((2, *size, 3))
    expected = np.empty_like(lateral)
    for i in range(size[0]):
        for j in range(size[1]):
            y = i * (shape[0] - 1) / (size[0] - 1)
            x = j * (shape[1] - 1) / (size[1] - 1)
            r, q = min(int(y), max(shape[0] - 2, 0)), min(int(x), shape[1] - 2)
            r2, dy, dx = min(r + 1, shape[0] - 1), y - r, x - q
            top = coarse[:, r, q] * (1 - dx) + coarse[:, r, q + 1] * dx
            bottom = coarse[:, r2, q] * (1 - dx) + coarse[:, r2, q + 1] * dx
            expected[:, i, j] = top * (1 - dy) + bottom * dy
    coarse, lateral, expected = (np.float32(a) for a in (coarse, lateral, expected + lateral))
    np.testing.assert_allclose(
        upsample_add(jnp.asarray(coarse), jnp.asarray(lateral)), expected, atol=1e-5
    )


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (8, 6)])
def test_halving_is_a_padded_strided_convolution(size):
    x = pictures(2, *size, 3)
    layer = Halving(5)
    variables = random_variables(layer, x)
    p = jax.tree_util.tree_map(np.asarray, variables["params"])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.empty((2, (size[0] + 1) // 2, (size[1] + 1) // 2, 5))
    for i in range(expected.shape[1]):
        for j in range(expected.shape[2]):
            patch = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, i, j] = np.einsum("byxc,yxcd->bd", patch, p["kernel"]) + p["bias"]
    expected = np.where(expected > 0, expected, 0.01 * expected)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, atol=1e-4)


def test_a_head_ends_in_a_dense_layer_scaled_by_its_width():
    head = Map2Style(features=4, halvings=2)
    x = pictures(2, 4, 4, 4)
    variables = random_variables(head, x)
    zero = jax.tree_util.tree_map(jnp.zeros_like, variables["params"]["convs_1"])
    zero["bias"] = jnp.array([1.0, 2.0, -3.0, 4.0])
    p = {**variables["params"], "convs_1": zero}
    expected = np.array([1, 2, -0.03, 4]) @ np.asarray(p["linear"]["kernel"]) / 2 + np.asarray(
        p["linear"]["bias"]
    )
    np.testing.assert_allclose(
        jax.jit(head.apply)({"params": p}, x), [expected, expected], atol=1e-5
    )
    with pytest.raises(ValueError, match="2 halvings"):
        head.init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))


def test_rows_read_their_level_of_the_pyramid(tiny):
    variables, images = tiny
    codes = jax.jit(TINY.apply)(variables, images)
    p = variables["params"]
    body = {k: v["body"] for k, v in variables.items()}
    _, _, c1, c2, c3 = jax.jit(IRSE(**SMALL).apply)(body, images)
    lateral1, lateral2 = (
        x @ p[n]["kernel"][0, 0] + p[n]["bias"] for x, n in ((c2, "latlayer1"), (c1, "latlayer2"))
    )
    p2 = upsample_add(c3, lateral1)
    p1 = upsample_add(p2, lateral2)
    assert codes.shape == (2, 9, 12) and c3.shape[1:3] == (4, 4) and p1.shape[1:3] == (16, 16)
    for row, features in ((0, c3), (2, c3), (3, p2), (6, p2), (7, p1), (8, p1)):
        head = Map2Style(12, {4: 2, 8: 3, 16: 4}[features.shape[1]])
        expected = jax.jit(head.apply)({"params": p[f"styles_{row}"]}, features)
        np.testing.assert_allclose(codes[:, row], expected, atol=1e-4)


def test_e4e_adds_deltas_to_the_first_row_up_to_its_stage(tiny):
    variables, images = tiny
    heads = np.asarray(jax.jit(TINY.apply)(variables, images))
    encoder = Encoder4Editing(
        **{f: getattr(TINY, f) for f in ("n_styles", "size", "width")}, **SMALL
    )
    for stage in (0, 4, None):
        codes = jax.jit(lambda v, x, stage=stage: encoder.apply(v, x, stage=stage))(
            variables, images
        )
        expected = np.repeat(heads[:, :1], 9, axis=1)
        last = 8 if stage is None else stage
        expected[:, 1 : last + 1] += heads[:, 1 : last + 1]
        np.testing.assert_allclose(codes, expected, atol=1e-4)
    with pytest.raises(ValueError, match="stage -1"):
        encoder.apply(variables, images, stage=-1)


def test_into_w_is_a_dense_layer_on_the_mean():
    encoder = IntoW(width=5, **SMALL)
    images = pictures(2, 32, 32, 3)
    variables = random_variables(encoder, images)
    last = jax.jit(IRSE(**SMALL).apply)({k: v["body"] for k, v in variables.items()}, images)[-1]
    p = variables["params"]["linear"]
    expected = np.asarray(last).mean((1, 2)) @ np.asarray(p["kernel"]) / np.sqrt(12) + np.asarray(
        p["bias"]
    )
    np.testing.assert_allclose(jax.jit(encoder.apply)(variables, images), expected, atol=1e-5)


def test_into_wplus_pools_and_flattens():
    encoder = IntoWPlus(n_styles=3, width=5, pool=3, **SMALL)
    images = pictures(2, 64, 64, 3)
    variables = random_variables(encoder, images)
    last = jax.jit(IRSE(**SMALL).apply)({k: v["body"] for k, v in variables.items()}, images)[-1]
    p, s = jax.tree_util.tree_map(
        np.asarray, (variables["params"], variables["batch_stats"]["output_bn"])
    )
    x = (np.asarray(last) - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["output_bn"]["scale"] + p[
        "output_bn"
    ]["bias"]
    # Adaptive cells of 4 -> 3: [0, 2), [1, 3), [2, 4)
    x = np.stack(
        [
            np.stack([x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in range(3)], 1)
            for i in range(3)
        ],
        1,
    )
    x = x.reshape(2, -1) @ p["output_dense"]["kernel"] + p["output_dense"]["bias"]
    expected = (x @ p["linear"]["kernel"] / np.sqrt(5) + p["linear"]["bias"]).reshape(2, 3, 5)
    np.testing.assert_allclose(
        jax.jit(encoder.apply)(variables, images), expected, rtol=3e-6, atol=1e-4
    )


RESTYLE = [
    BackboneEncoder(4, size=64, width=12, **SMALL),
    ResNetBackboneEncoder(4, size=64, width=12, counts=(1, 1, 2, 1), widths=(4, 6, 8, 12)),
]


@pytest.mark.parametrize("encoder", RESTYLE)
def test_progressive_restyle_adds_its_rows_to_the_first(encoder):
    images = pictures(1, 64, 64, 6)
    variables = random_variables(encoder, images)
    codes = np.asarray(jax.jit(encoder.apply)(variables, images))
    progressive = jax.jit(encoder.clone(progressive=True).apply)(variables, images)
    expected = np.concatenate([codes[:, :1], codes[:, :1] + codes[:, 1:]], axis=1)
    np.testing.assert_allclose(progressive, expected, atol=1e-5)
    assert codes.shape == (1, 4, 12) and np.abs(codes[:, 1:] - codes[:, :1]).min() > 0


@pytest.mark.parametrize(("generator", "rows"), [(1024, 18), (512, 16), (256, 14)])
def test_official_codes_and_parameters(generator, rows):
    x = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    encoder = GradualStyleEncoder(n_styles=rows)
    codes, variables = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x), x)
    assert codes.shape == (1, rows, 512)
    if generator == 1024:
        # Published size of the official encoder.
        assert sum(
            leaf.size for leaf in jax.tree_util.tree_leaves(variables["params"])
        ) == pytest.approx(267.137e6, rel=1e-4)
