"""The feature-style encoder: its published sizes, NumPy by definition on a tiny one, and its
official key list.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts import feature_style
from diffcam_jax.errors import UserError
from diffcam_jax.nn.feature_style import FeatureStyleEncoder, Unit
from tests.fast import fast
from tests.plain_layers import batch_norm, conv
from tests.random_variables import random_variables

TINY = FeatureStyleEncoder(3, 256, 7, 5, (1, 2, 1, 1), (2, 4, 6, 8))


def norm(prefix, width):
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (width,) for name in names} | {f"{prefix}.num_batches_tracked": ()}


def official(styles=3, width=7, content=5, counts=(1, 2, 1, 1), widths=(2, 4, 6, 8)):
    """Keys and shapes of 143_enc.pth for given sizes."""
    keys = {
        "conv.0.weight": (widths[0], 3, 3, 3),
        **norm("conv.1", widths[0]),
        "conv.2.weight": (widths[0],),
    }
    before = widths[0]
    for group, (count, after) in enumerate(zip(counts, widths), 1):
        for i in range(count):
            unit = f"block_{group}.{i}"
            keys |= (
                norm(f"{unit}.bn1", before)
                | norm(f"{unit}.bn2", after)
                | norm(f"{unit}.bn3", after)
            )
            keys |= {
                f"{unit}.conv1.weight": (after, before, 3, 3),
                f"{unit}.conv2.weight": (after, after, 3, 3),
            }
            keys[f"{unit}.prelu.weight"] = (after,)
            if i == 0:
                keys[f"{unit}.downsample.0.weight"] = (after, before, 1, 1)
                keys |= norm(f"{unit}.downsample.1", after)
            before = after
    keys |= (
        norm("content_layer.0", widths[2])
        | norm("content_layer.2", content)
        | norm("content_layer.5", content)
    )
    keys |= {
        "content_layer.1.weight": (content, widths[2], 3, 3),
        "content_layer.3.weight": (content,),
    }
    keys["content_layer.4.weight"] = (content, content, 3, 3)
    for i in range(styles):
        keys |= {f"styles.{i}.weight": (width, 9 * sum(widths)), f"styles.{i}.bias": (width,)}
    return keys


def test_published_sizes():
    encoder = FeatureStyleEncoder()
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))
    assert shapes["params"]["styles_17"]["kernel"].shape == (960 * 9, 512)
    assert len([name for name in shapes["params"] if name.startswith("styles")]) == 18
    codes, content = jax.eval_shape(
        lambda v, x: encoder.apply(v, x, method="with_content"), shapes, jnp.zeros((2, 256, 256, 3))
    )
    assert codes.shape == (2, 18, 512) and content.shape == (2, 16, 16, 512)
    layout = feature_style.encoder(official(18, 512, 512, (3, 4, 14, 3), (64, 128, 256, 512)))
    assert layout.module == encoder
    assert not layout.faults(official(18, 512, 512, (3, 4, 14, 3), (64, 128, 256, 512)))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_by_definition(stride):
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype(np.float32)
    variables = random_variables(Unit(4, stride), jnp.asarray(x))
    p, stats = (jax.tree.map(np.asarray, variables[name]) for name in ("params", "batch_stats"))

    def normal(y, name):
        return batch_norm(y, p[name], stats[name])

    y = normal(conv(normal(x, "bn1"), p["conv1"]["kernel"]), "bn2")
    y = conv(np.where(y > 0, y, p["prelu"]["negative_slope"] * y), p["conv2"]["kernel"])[
        :, ::stride, ::stride
    ]
    short = (
        x
        if stride == 1
        else normal(x[:, ::2, ::2] @ p["shortcut_conv"]["kernel"][0, 0], "shortcut_bn")
    )
    np.testing.assert_allclose(
        jax.jit(Unit(4, stride).apply)(variables, x), normal(y, "bn3") + short, atol=1e-4
    )


def test_every_row_reads_cell_means_of_all_groups():
    images = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, 48, 48, 3)), jnp.float32)
    variables = random_variables(TINY, images)
    run = fast(
        lambda v, x: (TINY.apply(v, x), TINY.apply(v, x, method=lambda encoder, x: encoder.body(x)))
    )
    codes, maps = run(variables, images)
    assert [m.shape[1:] for m in maps] == [
        (48, 48, 2),
        (24, 24, 2),
        (12, 12, 4),
        (6, 6, 6),
        (3, 3, 8),
    ]
    cells = [
        np.asarray(m).reshape(2, 3, m.shape[1] // 3, 3, m.shape[1] // 3, -1).mean((2, 4))
        for m in maps[1:]
    ]
    flat = np.concatenate(cells, -1).reshape(2, -1)
    for row in range(3):
        dense = variables["params"][f"styles_{row}"]
        np.testing.assert_allclose(codes[:, row], flat @ dense["kernel"] + dense["bias"], atol=1e-4)


def test_the_official_keys_and_the_way_back():
    shapes = official()
    layout = feature_style.encoder(shapes)
    assert layout.module == TINY and "3 styles" in layout.summary
    rng = np.random.default_rng(0)
    state = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    # Channel 5 of the third group, row 2 and column 1 of the cells; torch flattens channels first.
    state["styles.1.weight"][3] = 0
    state["styles.1.weight"][3, (2 + 4 + 5) * 9 + 2 * 3 + 1] = 1
    variables = layout.convert(state)
    kernel = variables["params"]["styles_1"]["kernel"]
    assert kernel[(2 * 3 + 1) * 20 + 2 + 4 + 5, 3] == 1 and kernel[:, 3].sum() == 1
    np.testing.assert_array_equal(
        variables["batch_stats"]["body"]["unit_2"]["bn3"]["var"], state["block_2.1.bn3.running_var"]
    )
    exported = layout.export(variables)
    assert {key for key in state if key not in exported} == {
        key for key in state if key.endswith("num_batches_tracked")
    }
    for key, array in exported.items():
        np.testing.assert_array_equal(array, state[key])


def test_a_file_that_is_not_whole():
    shapes = {key: shape for key, shape in official().items() if not key.startswith("block_3")}
    with pytest.raises(
        UserError,
        match="not a FeatureStyle encoder, entry 'block_3' is missing; give the file 143_enc",
    ):
        feature_style.encoder(shapes)
    shapes = official()
    del shapes["block_2.1.bn3.weight"]
    assert "block_2.1.bn3.weight is missing" in " ".join(
        feature_style.encoder(shapes).faults(shapes)
    )
