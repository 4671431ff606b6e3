"""StyleGAN2 in the names of the official releases: sizes are inferred, every key has its leaf and
every leaf its key.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts import stylegan2 as layouts
from diffcam_jax.errors import UserError
from tests.random_variables import random_variables


def generator_shapes(widths, latent=16, depth=3):
    """rosinality's keys, written out from its naming scheme."""
    shapes = {"input.input": (1, widths[0], 4, 4), "noises.noise_0": (1, 1, 4, 4)}
    for i in range(depth):
        shapes |= {f"style.{i + 1}.weight": (latent, latent), f"style.{i + 1}.bias": (latent,)}

    def layer(name, before, after, size):
        shapes[f"{name}.conv.weight"] = (1, after, before, size, size)
        shapes[f"{name}.conv.modulation.weight"] = (before, latent)
        shapes[f"{name}.conv.modulation.bias"] = (before,)
        if size == 1:
            shapes[f"{name}.bias"] = (1, 3, 1, 1)
        else:
            shapes[f"{name}.noise.weight"], shapes[f"{name}.activate.bias"] = (1,), (after,)

    layer("conv1", widths[0], widths[0], 3)
    layer("to_rgb1", widths[0], 3, 1)
    for i, (before, after) in enumerate(itertools.pairwise(widths)):
        layer(f"convs.{2 * i}", before, after, 3)
        layer(f"convs.{2 * i + 1}", after, after, 3)
        layer(f"to_rgbs.{i}", after, 3, 1)
        shapes |= {
            f"convs.{2 * i}.conv.blur.kernel": (4, 4),
            f"to_rgbs.{i}.upsample.kernel": (4, 4),
        }
        shapes |= {f"noises.noise_{2 * i + k}": (1, 1, 8 * 2**i, 8 * 2**i) for k in (1, 2)}
    return shapes


def mmgen_name(key):
    """What mmgeneration calls an entry of rosinality's generator."""
    if key.startswith("style."):
        name = key.replace("style.", "style_mapping.")
        return name.replace(".weight", ".linear.weight_orig")
    for ours, theirs in (
        ("input.input", "constant_input.input"),
        ("noises.noise_", "injected_noise_"),
        ("noise.weight", "noise_injector.weight"),
        ("conv.modulation.weight", "conv.style_modulation.linear.weight_orig"),
        ("conv.modulation.bias", "conv.style_modulation.bias"),
        ("conv.weight", "conv.weight_orig"),
    ):
        if ours in key:
            return key.replace(ours, theirs)
    return key


def ada_discriminator_shapes(widths):
    """ADA's keys of a residual discriminator."""
    top = 2 ** (len(widths) + 1)
    shapes = {
        f"b{top}.fromrgb.weight": (widths[-1], 3, 1, 1),
        f"b{top}.fromrgb.bias": (widths[-1],),
    }
    shapes[f"b{top}.fromrgb.resample_filter"] = (4, 4)
    for i in range(len(widths) - 1, 0, -1):
        block, before, after = f"b{4 * 2**i}", widths[i], widths[i - 1]
        shapes[f"{block}.resample_filter"] = (4, 4)
        for name, width in (("conv0", before), ("conv1", after)):
            shapes |= {
                f"{block}.{name}.weight": (width, before, 3, 3),
                f"{block}.{name}.bias": (width,),
            }
            shapes[f"{block}.{name}.resample_filter"] = (4, 4)
        shapes |= {
            f"{block}.skip.weight": (after, before, 1, 1),
            f"{block}.skip.resample_filter": (4, 4),
        }
    c = widths[0]
    shapes |= {
        "b4.conv.weight": (c, c + 1, 3, 3),
        "b4.conv.bias": (c,),
        "b4.conv.resample_filter": (4, 4),
    }
    return shapes | {
        "b4.fc.weight": (c, 16 * c),
        "b4.fc.bias": (c,),
        "b4.out.weight": (1, c),
        "b4.out.bias": (1,),
    }


def test_layouts_infer_sizes_and_fit_exactly():
    shapes = generator_shapes((12, 12, 8, 6))
    mmgen = {mmgen_name(key): shape for key, shape in shapes.items()}
    assert len(mmgen) == len(shapes)
    for layout, keys in (
        (layouts.generator_rosinality(shapes), shapes),
        (layouts.generator_mmgen(mmgen), mmgen),
    ):
        assert layout.faults(keys) == []
        assert (layout.module.widths, layout.module.latent_size, layout.module.mapping_layers) == (
            (12, 12, 8, 6),
            16,
            3,
        )
        assert layout.summary == "32 px, widths 12, 12, 8, 6, 8 styles, 3 mapping layers"
    assert (
        layouts.generator_rosinality(shapes).module.pixel_norm_inside,
        layout.module.pixel_norm_inside,
    ) == (
        True,
        False,
    )
    full = generator_shapes((512, 512, 512, 512, 256, 128, 64), latent=512, depth=8)
    assert (
        layouts.generator_rosinality(full).summary
        == "256 px, channel multiplier 1, 14 styles, 8 mapping layers"
    )
    ada = ada_discriminator_shapes((9, 8, 7))
    layout = layouts.discriminator_ada(ada)
    assert layout.faults(ada) == []
    assert layout.module.widths == (9, 8, 7)


def test_ada_discriminator_is_the_residual_one():
    """The same network written in both namings gives the same logits, flattened map included."""
    widths = (6, 5, 4)
    ada = layouts.discriminator_ada(ada_discriminator_shapes(widths))
    variables = random_variables(ada.module, jnp.zeros((1, 16, 16, 3)))
    state = ada.export(variables)
    renamed = {}
    for key, array in state.items():
        for old, new in (
            ("b16.fromrgb.weight", "convs.0.0.weight"),
            ("b16.fromrgb.bias", "convs.0.1.bias"),
            ("b16.conv0.weight", "convs.1.conv1.0.weight"),
            ("b16.conv0.bias", "convs.1.conv1.1.bias"),
            ("b16.conv1.weight", "convs.1.conv2.1.weight"),
            ("b16.conv1.bias", "convs.1.conv2.2.bias"),
            ("b16.skip.weight", "convs.1.skip.1.weight"),
            ("b8.conv0.weight", "convs.2.conv1.0.weight"),
            ("b8.conv0.bias", "convs.2.conv1.1.bias"),
            ("b8.conv1.weight", "convs.2.conv2.1.weight"),
            ("b8.conv1.bias", "convs.2.conv2.2.bias"),
            ("b8.skip.weight", "convs.2.skip.1.weight"),
            ("b4.conv.weight", "final_conv.0.weight"),
            ("b4.conv.bias", "final_conv.1.bias"),
            ("b4.fc.", "final_linear.0."),
            ("b4.out.", "final_linear.1."),
        ):
            if key.startswith(old):
                renamed[key.replace(old, new)] = array
    layout = layouts.discriminator_rosinality({key: array.shape for key, array in renamed.items()})
    for ours, theirs in zip(
        jax.tree.leaves(layout.convert(renamed)), jax.tree.leaves(variables), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_layouts_say_what_is_missing():
    with pytest.raises(UserError, match=r"input\.input is missing"):
        layouts.generator_rosinality({"x": (1,)})
    with pytest.raises(UserError, match=r"b4\.const is missing"):
        layouts.generator_ada({})
    shapes = generator_shapes((8, 8))
    del shapes["convs.1.noise.weight"]
    shapes["convs.1.noise.wait"] = (1,)
    faults = layouts.generator_rosinality(shapes).faults(shapes)
    assert any("convs.1.noise.weight is missing" in fault for fault in faults)
    assert any("convs.1.noise.wait is left over" in fault for fault in faults)
    with pytest.raises(UserError, match=r"convs\.0\.0\.weight is missing"):
        layouts.discriminator_rosinality({})
    with pytest.raises(UserError, match="missing"):
        layouts.discriminator_ada({})
