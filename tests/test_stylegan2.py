"""StyleGAN2: the laws its forms rest on, against naive per-sample convolutions in float64."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.nn.latents import mix_styles, to_wplus, truncate
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.nn.stylegan2_layers import StyledConv, ToRGB
from diffcam_jax.ops.up_conv import down_conv, up_conv
from tests.naive_layers import blurred, convolved, field, normal_variables, transposed


@pytest.fixture(autouse=True)
def highest_precision():
    with jax.default_matmul_precision("highest"):
        yield


def test_up_conv_is_a_transposed_convolution_and_a_blur():
    x, kernel = field(2, 5, 4, 3), field(3, 3, 3, 2, seed=1)
    ours = jax.jit(up_conv)(x, kernel)
    for sample, result in zip(np.asarray(x, np.float64), ours, strict=True):
        np.testing.assert_allclose(
            result, blurred(transposed(sample, np.asarray(kernel, np.float64))), atol=1e-5
        )


@pytest.mark.parametrize(("operation", "size"), [(up_conv, 8), (down_conv, 2)])
def test_derivatives_are_the_transpose_to_second_order(operation, size):
    x, kernel, g = field(1, 4, 4, 2), field(3, 3, 2, 3, seed=1), field(1, size, size, 3, seed=2)

    @jax.jit
    def derivatives(x, kernel, g):
        y, pull = jax.vjp(operation, x, kernel)
        # The inner product <g, y> is linear in each: its mixed second derivatives give y and the
        # gradients back.
        by_g = jax.vjp(lambda g: jax.vjp(lambda x: operation(x, kernel), x)[1](g)[0], g)[1](x)[0]
        by_kernel = jax.vjp(lambda k: jax.vjp(lambda x: operation(x, k), x)[1](g)[0], kernel)[1](x)[
            0
        ]
        by_x = jax.vjp(lambda x: jax.vjp(lambda k: operation(x, k), kernel)[1](g)[0], x)[1](kernel)[
            0
        ]
        return y, pull(g), by_g, (by_x, by_kernel)

    y, first, by_g, second = derivatives(x, kernel, g)
    for gradient, variable in zip(first, (x, kernel), strict=True):
        np.testing.assert_allclose((gradient * variable).sum(), (g * y).sum(), rtol=1e-4)
    np.testing.assert_allclose(by_g, y, atol=1e-5)
    for ours, expected in zip(second, first, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("up", [False, True])
def test_modulation_equals_a_kernel_for_each_sample(up):
    layer = StyledConv(3, 4, 8 if up else 4, up=up)
    x, style = field(2, 4, 4, 3), 1 + field(2, 3, seed=1)
    variables = normal_variables(layer, x, style, "none", method=_draw)
    ours = jax.jit(lambda variables: layer.apply(variables, x, style, "fixed"))(variables)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    for sample, factors, result in zip(
        np.asarray(x, np.float64), np.asarray(style, np.float64), ours, strict=True
    ):
        kernel = params["kernel"] * factors[:, None] / math.sqrt(27)
        kernel = kernel / np.sqrt((kernel**2).sum((0, 1, 2)) + 1e-8)
        y = blurred(transposed(sample, kernel)) if up else convolved(sample, kernel, 1)
        y = (
            y
            + params["strength"] * np.asarray(variables["noise"]["map"])[..., None]
            + params["bias"]
        )
        np.testing.assert_allclose(result, math.sqrt(2) * np.where(y > 0, y, 0.2 * y), atol=2e-5)


def _draw(layer, x, style, noise):
    layer.style(jnp.zeros((1, 8)))
    return layer(x, style, noise)


def test_to_rgb_has_no_demodulation():
    layer = ToRGB(5)
    x, style = field(2, 3, 3, 5), 3 + field(2, 5, seed=1)
    params = {"kernel": field(5, 3, seed=2), "bias": field(3, seed=3)}
    expected = (
        np.einsum("bhwc,bc,cd->bhwd", x, style, params["kernel"]) / math.sqrt(5) + params["bias"]
    )
    np.testing.assert_allclose(layer.apply({"params": params}, x, style), expected, atol=1e-5)


@functools.cache
def generator():
    model = StyleGAN2Generator((8, 6, 4), latent_size=16, mapping_layers=2)
    return model, normal_variables(model, jnp.zeros((1, 16)))


@functools.cache
def compiled(model, method, **static):
    return jax.jit(lambda variables, x: model.apply(variables, x, method=method, **static))


def apply(x, method="__call__", **static):
    model, variables = generator()
    return compiled(model, method, **static)(variables, x)


def test_sizes_follow_from_the_widths():
    assert config_widths(1024) == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    assert config_widths(256, channel_multiplier=1) == (512, 512, 512, 512, 256, 128, 64)
    assert (StyleGAN2Generator().resolution, StyleGAN2Generator().num_styles) == (1024, 18)
    model, variables = generator()
    assert (model.resolution, model.num_styles) == (16, 6)
    assert [a.shape for a in jax.tree.leaves(variables["noise"])] == [
        (4, 4),
        (8, 8),
        (8, 8),
        (16, 16),
        (16, 16),
    ]
    assert apply(field(3, 16)).shape == (3, 16, 16, 3)


def test_full_size_has_the_published_number_of_parameters():
    for model, example, count in (
        (StyleGAN2Generator(), jnp.zeros((1, 512)), 30_370_060),
        (StyleGAN2Discriminator(), jnp.zeros((1, 1024, 1024, 3)), 29_012_513),
    ):
        shapes = jax.eval_shape(model.init, jax.random.key(0), example)["params"]
        assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def test_mapping_scales_weights_and_bias_by_its_learning_rate():
    _, variables = generator()
    z = field(2, 16)
    x = np.asarray(z, np.float64)
    x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)
    for i in range(2):
        layer = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"][f"dense_{i}"])
        x = x @ layer["kernel"] * 0.01 / 4 + layer["bias"] * 0.01
        x = math.sqrt(2) * np.where(x > 0, x, 0.2 * x)
    np.testing.assert_allclose(apply(z, method="mapping"), x, atol=1e-7)


def test_pixel_norm_outside_differs_where_z_is_small():
    model, variables = generator()
    outside = model.clone(pixel_norm_inside=False)
    tiny = 1e-4 * field(1, 16)
    first = variables["params"]["dense_0"]
    rms = math.sqrt(float((tiny**2).mean()))
    one_layer = outside.clone(mapping_layers=1)
    ours = one_layer.apply(variables, tiny, method="mapping")
    x = tiny / (rms + 1e-6) @ first["kernel"] * 0.0025 + 0.01 * first["bias"]
    np.testing.assert_allclose(
        ours, math.sqrt(2) * jnp.where(x > 0, x, 0.2 * x), rtol=1e-4, atol=1e-9
    )


def test_w_is_a_wplus_of_equal_rows_and_further_rows_are_ignored():
    w = field(2, 16)
    image = apply(w, method="synthesis")
    rows = to_wplus(w, 6)
    np.testing.assert_allclose(apply(rows, method="synthesis"), image, atol=1e-5)
    longer = jnp.concatenate([rows, field(2, 3, 16, seed=1)], 1)
    np.testing.assert_allclose(apply(longer, method="synthesis"), image, atol=1e-5)
    with pytest.raises(ValueError, match="at least 6 rows, got 5"):
        apply(rows[:, :5], method="synthesis")


def test_each_row_drives_the_layers_the_paper_says():
    rows, other = field(1, 6, 16), field(1, 6, 16, seed=1)
    names = generator()[0].style_names
    base = apply(rows, method="style_vectors")
    expected = [
        {"conv1"},
        {"to_rgb1", "convs_0"},
        {"convs_1"},
        {"to_rgbs_0", "convs_2"},
        {"convs_3"},
        {"to_rgbs_1"},
    ]
    for row, layers in enumerate(expected):
        changed = apply(rows.at[:, row].set(other[:, row]), method="style_vectors")
        assert {
            n for n, a, b in zip(names, base, changed, strict=True) if not np.array_equal(a, b)
        } == layers


def test_styles_draw_the_picture_of_their_codes():
    rows = field(2, 6, 16)
    styles = apply(rows, method="style_vectors")
    assert [s.shape for s in styles] == [(2, c) for c in (8, 8, 8, 6, 6, 6, 4, 4)]
    image = apply(styles, method="synthesis_from_styles")
    np.testing.assert_allclose(image, apply(rows, method="synthesis"), atol=1e-5)


@pytest.mark.parametrize("size", [4, 8])
def test_a_smaller_picture_is_the_area_mean(size):
    rows = field(2, 6, 16)
    full = np.asarray(apply(rows, method="synthesis"))
    k = 16 // size
    means = full.reshape(2, size, k, size, k, 3).mean((2, 4))
    np.testing.assert_allclose(apply(rows, size=size, method="synthesis"), means, atol=1e-5)


def test_noise_modes():
    model, variables = generator()
    rows = field(2, 6, 16)

    @functools.partial(jax.jit, static_argnums=2)
    def drawn(variables, rows, noise, key):
        return model.apply(variables, rows, noise=noise, method="synthesis", rngs={"noise": key})

    def draw(noise, variables=variables, seed=0):
        return drawn(variables, rows, noise, jax.random.key(seed))

    silent = {
        "params": variables["params"],
        "noise": jax.tree.map(jnp.zeros_like, variables["noise"]),
    }
    none = draw("none", {"params": variables["params"]})
    np.testing.assert_allclose(none, draw("fixed", silent), atol=1e-6)
    assert float(abs(draw("fixed") - none).max()) > 1e-3
    np.testing.assert_array_equal(draw("random", seed=1), draw("random", seed=1))
    random = draw("random", seed=1)
    assert float(abs(random - draw("random", seed=2)).max()) > 1e-3
    # Samples get noise of their own: equal codes, different pictures.
    twins = drawn(variables, jnp.stack([rows[0]] * 2), "random", jax.random.key(0))
    assert float(abs(twins[0] - twins[1]).max()) > 1e-3
    with pytest.raises(ValueError, match="allowed are fixed, random and none"):
        draw("loud")


def test_features_are_those_of_the_picture_and_can_be_replaced():
    rows = field(2, 6, 16)
    features = apply(rows, method="features")
    assert {k: v.shape for k, v in features.items()} == {
        4: (2, 4, 4, 8),
        8: (2, 8, 8, 6),
        16: (2, 16, 16, 4),
    }
    model, variables = generator()

    @jax.jit
    def replaced(variables, rows):
        seen = {}

        def before_up(resolution, x):
            seen[resolution] = x
            return 0 * x if resolution == 8 else x

        return model.apply(variables, rows, before_up=before_up, method="features"), seen

    changed, seen = replaced(variables, rows)
    assert list(seen) == [4, 8]
    for resolution in (4, 8):
        np.testing.assert_allclose(changed[resolution], features[resolution], atol=1e-6)
        np.testing.assert_allclose(seen[resolution], features[resolution], atol=1e-6)
    assert float(abs(changed[16] - features[16]).max()) > 1e-2


def test_clamp_limits_every_layer():
    model, variables = generator()
    rows = 3 * field(2, 6, 16)
    limited = model.clone(conv_clamp=0.25)
    for features in compiled(limited, "features")(variables, rows).values():
        assert float(abs(features).max()) == pytest.approx(0.25)
    # Three pictures are added, each within the limit.
    assert float(abs(compiled(limited, "synthesis")(variables, rows)).max()) <= 3 * 0.25 + 1e-6
    loose = compiled(model.clone(conv_clamp=1e6), "synthesis")(variables, rows)
    np.testing.assert_allclose(loose, apply(rows, method="synthesis"), atol=1e-5)


def test_gradient_of_a_picture_is_its_slope():
    rows, direction = field(1, 6, 16), field(1, 6, 16, seed=1)

    def loss(rows):
        return (apply(rows, method="synthesis") ** 2).mean()

    step = 1e-3
    slope = (loss(rows + step * direction) - loss(rows - step * direction)) / (2 * step)
    np.testing.assert_allclose((jax.jit(jax.grad(loss))(rows) * direction).sum(), slope, rtol=2e-2)


def test_mixing_and_truncation():
    a, b = field(2, 16), field(2, 16, seed=1)
    mixed = mix_styles(a, b, 2, 6)
    np.testing.assert_array_equal(mixed[:, :2], to_wplus(a, 2))
    np.testing.assert_array_equal(mixed[:, 2:], to_wplus(b, 4))
    np.testing.assert_array_equal(mix_styles(to_wplus(a, 6), b, 6, 6), to_wplus(a, 6))
    np.testing.assert_allclose(truncate(a, b[0], 0.25), 0.25 * a + 0.75 * b[0], atol=1e-6)
