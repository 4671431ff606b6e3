"""The StyleGAN v1 generator: every layer against its definition in NumPy, its options, and where
the official file's keys go.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts import idinvert
from diffcam_jax.errors import UserError
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator, truncate
from diffcam_jax.ops.nearest_conv import nearest_conv3x3
from tests.plain_layers import conv, leaky, repeat2
from tests.random_variables import random_variables

TINY = StyleGAN1Generator(widths=(6, 5), latent_size=7, mapping_layers=3)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tiny():
    variables = random_variables(TINY, jnp.zeros((1, 7)))
    # Mapping biases of 10 would be lost without their factor of 0.01; kernels are stored with a
    # deviation of 100.
    for i in range(3):
        dense = variables["params"][f"dense_{i}"]
        dense["kernel"], dense["bias"] = 100 * dense["kernel"], 100 * dense["bias"]
    return variables


@functools.partial(jax.jit, static_argnames="model")
def mapped(variables, z, model=TINY):
    return model.apply(variables, z, method="mapping")


@functools.partial(jax.jit, static_argnames=("model", "size", "noise"))
def draw(variables, w, model=TINY, size=None, noise="fixed", key=None):
    rngs = {"noise": key} if noise == "random" else None
    return model.apply(variables, w, size, noise, method="synthesis", rngs=rngs)


def expected_mapping(params, z, n, k):
    w = z / np.sqrt((z**2).mean(-1, keepdims=True) + 1e-8)
    for i in range(3):
        kernel, bias = (
            np.asarray(params[f"dense_{i}"][name], np.float64) for name in ("kernel", "bias")
        )
        w = leaky(w @ kernel * np.sqrt(2 / len(kernel)) * 0.01 + bias * 0.01)
    return w.reshape(len(z), n, k)


def expected_synthesis(variables, codes):
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    x = np.broadcast_to(params["const"], (len(codes), *params["const"].shape))
    for i in range(4):
        layer = params[f"layer_{i}"]
        if i == 2:
            blur = np.multiply.outer(np.outer([1, 2, 1], [1, 2, 1]) / 16, np.eye(5))
            x = conv(conv(repeat2(x), layer["kernel"] * np.sqrt(2 / (9 * 6))), blur)
        elif i:
            x = conv(x, layer["kernel"] * np.sqrt(2 / (9 * x.shape[-1])))
        noise = np.asarray(variables["noise"][f"layer_{i}"]["map"], np.float64)
        x = leaky(x + noise[..., None] * layer["strength"] + layer["bias"])
        mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        x = (x - mean) / np.sqrt(var + 1e-8)
        style = codes[:, i] @ layer["style"]["kernel"] / np.sqrt(7) + layer["style"]["bias"]
        x = x * (style[:, None, None, : x.shape[-1]] + 1) + style[:, None, None, x.shape[-1] :]
    colours = params["to_image"]
    return np.tanh(x @ colours["kernel"] / np.sqrt(5) + colours["bias"])


def test_mapping_and_synthesis_by_definition(tiny):
    z = RNG.standard_normal((2, 7))
    codes = mapped(tiny, jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(codes, expected_mapping(tiny["params"], z, 4, 7), atol=1e-4)
    image = draw(tiny, codes)
    assert image.shape == (2, 8, 8, 3) and TINY.resolution == 8 and TINY.num_styles == 4
    np.testing.assert_allclose(
        image, expected_synthesis(tiny, np.asarray(codes, np.float64)), atol=1e-4
    )
    np.testing.assert_allclose(
        jax.jit(TINY.apply)(tiny, jnp.asarray(z, jnp.float32)), image, atol=1e-5
    )


def test_repeated_w_and_unbounded_pictures(tiny):
    plain = StyleGAN1Generator(
        widths=(6, 5), latent_size=7, mapping_layers=3, repeat_w=True, final_tanh=False
    )
    params = {
        **tiny["params"],
        "dense_2": jax.tree.map(lambda a: a[..., :7], tiny["params"]["dense_2"]),
    }
    w = mapped({"params": params}, jnp.ones((1, 7)), plain)
    np.testing.assert_array_equal(w, np.broadcast_to(w[:, :1], (1, 4, 7)))
    image = draw(tiny, w[:, 0], plain)
    np.testing.assert_allclose(jnp.tanh(image), draw(tiny, w), atol=1e-6)


def test_sizes_and_noise(tiny):
    w = jnp.asarray(RNG.standard_normal((2, 7)), jnp.float32)
    full = draw(tiny, w)
    np.testing.assert_allclose(
        draw(tiny, w, size=4), full.reshape(2, 4, 2, 4, 2, 3).mean((2, 4)), atol=1e-6
    )
    silent = {**tiny, "noise": jax.tree.map(jnp.zeros_like, tiny["noise"])}
    without = draw(tiny, w, noise="none")
    np.testing.assert_allclose(without, draw(silent, w), atol=1e-6)
    random = [draw(tiny, w, noise="random", key=jax.random.key(i)) for i in (1, 1, 2)]
    np.testing.assert_array_equal(random[0], random[1])
    assert all(
        np.abs(a - b).max() > 0.01
        for a, b in [(random[0], random[2]), (random[0], without), (full, without)]
    )
    with pytest.raises(ValueError, match="fixed, random, none"):
        draw(tiny, w, noise="off")
    with pytest.raises(ValueError, match="4 rows, got 3"):
        draw(tiny, jnp.zeros((1, 3, 7)))


def test_truncation_leaves_fine_layers_alone():
    w, mean = (
        RNG.standard_normal((2, 10, 7)).astype(np.float32),
        RNG.standard_normal(7).astype(np.float32),
    )
    expected = w.copy()
    expected[:, :8] = mean + 0.7 * (w[:, :8] - mean)
    np.testing.assert_allclose(truncate(jnp.asarray(w), jnp.asarray(mean)), expected, atol=1e-6)
    rows = np.stack([mean] * 10)
    np.testing.assert_allclose(truncate(jnp.asarray(w), jnp.asarray(rows)), expected, atol=1e-6)
    np.testing.assert_allclose(
        truncate(jnp.asarray(w), jnp.asarray(mean), psi=0.0, layers=10)[1], rows, atol=1e-6
    )


def test_fused_upsampling_is_the_plain_one_with_the_kernel_turned():
    x, kernel = RNG.standard_normal((2, 4, 5, 3)), RNG.standard_normal((3, 3, 3, 2))
    plain = conv(repeat2(x), kernel)
    np.testing.assert_allclose(
        nearest_conv3x3(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)),
        plain,
        atol=1e-4,
    )
    # The definition of the fused form: a 4x4 kernel of four shifted copies, written around every
    # sample, stride 2.
    turned = idinvert.FUSED.inverse(kernel)
    wide = np.pad(turned, ((1, 1), (1, 1), (0, 0), (0, 0)))
    wide = wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]
    canvas = np.zeros((2, 2 * 4 + 2, 2 * 5 + 2, 2))
    for i in range(4):
        for j in range(5):
            canvas[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                "bc,hwcd->bhwd", x[:, i, j], wide
            )
    np.testing.assert_allclose(canvas[:, 1:-1, 1:-1], plain, atol=1e-10)


def test_upsampling_gradients_are_those_of_the_plain_form():
    arguments = [
        jnp.asarray(RNG.standard_normal(s), jnp.float32)
        for s in [(1, 3, 4, 2), (3, 3, 2, 3), (1, 6, 8, 3)]
    ]

    def plain(x, kernel):
        x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    ours, theirs = (
        jax.jit(jax.grad(lambda x, k, weight, f=f: jnp.sum(weight * f(x, k) ** 2), argnums=(0, 1)))(
            *arguments
        )
        for f in (nearest_conv3x3, plain)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def official_shapes(widths=(8, 6, 4), latent=5, mapping=2, fused=()):
    layers = 2 * len(widths)
    shapes = {
        "truncation.w_avg": (latent,),
        "truncation.truncation": (1, layers, 1),
        "synthesis.lod": (),
    }
    for i in range(mapping):
        outputs = latent * (layers if i == mapping - 1 else 1)
        shapes |= {
            f"mapping.dense{i}.fc.weight": (outputs, latent),
            f"mapping.dense{i}.wscale.bias": (outputs,),
        }
    shapes["synthesis.layer0.const"] = (1, widths[0], 4, 4)
    for i in range(layers):
        channels, before, prefix = (
            widths[i // 2],
            widths[max(0, i - 1) // 2],
            f"synthesis.layer{i}.",
        )
        if i in fused:
            shapes[prefix + "weight"] = (3, 3, before, channels)
        elif i:
            shapes[prefix + "conv.weight"] = (channels, before, 3, 3)
        if i and i % 2 == 0:
            shapes[prefix + "blur.kernel"] = (channels, 1, 3, 3)
        epilogue = prefix + "epilogue."
        shapes |= {epilogue + "bias": (channels,), epilogue + "apply_noise.weight": (channels,)}
        shapes[epilogue + "apply_noise.noise"] = (1, 1, 4 * 2 ** (i // 2), 4 * 2 ** (i // 2))
        shapes[epilogue + "style_mod.dense.fc.weight"] = (2 * channels, latent)
        shapes[epilogue + "style_mod.dense.wscale.bias"] = (2 * channels,)
    for i, channels in enumerate(widths):
        shapes |= {
            f"synthesis.output{i}.conv.weight": (3, channels, 1, 1),
            f"synthesis.output{i}.bias": (3,),
        }
    return shapes


@pytest.mark.parametrize("fused", [(), (4,), (2, 4)])
def test_official_keys_there_and_back(fused):
    shapes = official_shapes(fused=fused)
    layout = idinvert.generator(shapes)
    assert layout.module == StyleGAN1Generator((8, 6, 4), latent_size=5, mapping_layers=2)
    assert layout.faults(shapes) == []
    state = {key: RNG.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    for key in state:
        if "blur" in key:
            state[key] = np.broadcast_to(idinvert.BLUR, state[key].shape)
    exported = layout.export(layout.convert(state))
    for key, array in exported.items():
        np.testing.assert_array_equal(array, state[key])
    left = set(shapes) - set(exported)
    assert left == {
        k for k in shapes if re.match(r"truncation|synthesis\.(lod|output[01]|layer\d\.blur)", k)
    }


def test_a_damaged_list_of_keys_is_reported():
    shapes = official_shapes()
    del shapes["synthesis.layer3.conv.weight"]
    shapes["synthesis.layer2.epilogue.bias"] = ()
    faults = "; ".join(idinvert.generator(shapes).faults(shapes))
    assert "layer3.conv.weight is missing" in faults and "layer2.epilogue.bias is ()" in faults
    with pytest.raises(UserError, match="StyleGAN v1"):
        idinvert.generator({"convs.0.weight": (3, 3)})
    with pytest.raises(UserError, match="StyleGAN v1"):
        idinvert.generator({"synthesis.layer99999.epilogue.bias": (4,)})
