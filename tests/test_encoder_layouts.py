"""Official key lists of the encoders, written out from the published architecture at small sizes,
against our layouts.
"""

import numpy as np
import pytest

from convert_weights.layouts import encoders
from diffcam_jax.errors import UserError
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.irse import ArcFace
from diffcam_jax.nn.psp import GradualStyleEncoder, IntoW, IntoWPlus
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder

BODY = {"counts": (1, 2, 1, 1), "widths": (8, 16, 24, 32), "squeeze": 4}
COUNTERS = ".num_batches_tracked"


def norm(prefix, width):
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (width,) for name in names} | {f"{prefix}{COUNTERS}": ()}


def body(channels, gated=True):
    keys = {
        "input_layer.0.weight": (8, channels, 3, 3),
        **norm("input_layer.1", 8),
        "input_layer.2.weight": (8,),
    }
    for i, (before, width) in enumerate([(8, 8), (8, 16), (16, 16), (16, 24), (24, 32)]):
        res = f"body.{i}.res_layer"
        keys |= norm(f"{res}.0", before) | norm(f"{res}.4", width) | {f"{res}.2.weight": (width,)}
        keys |= {f"{res}.1.weight": (width, before, 3, 3), f"{res}.3.weight": (width, width, 3, 3)}
        if gated:
            keys |= {
                f"{res}.5.fc1.weight": (width // 4, width, 1, 1),
                f"{res}.5.fc2.weight": (width, width // 4, 1, 1),
            }
        if before != width:
            keys[f"body.{i}.shortcut_layer.0.weight"] = (width, before, 1, 1)
            keys |= norm(f"body.{i}.shortcut_layer.1", width)
    return keys


def resnet_body(channels):
    keys = {"conv1.weight": (8, channels, 7, 7), **norm("bn1", 8), "relu.weight": (8,)}
    for i, (before, width) in enumerate([(8, 8), (8, 16), (16, 16), (16, 24), (24, 32)]):
        keys |= {
            f"body.{i}.conv1.weight": (width, before, 3, 3),
            f"body.{i}.conv2.weight": (width, width, 3, 3),
        }
        keys |= norm(f"body.{i}.bn1", width) | norm(f"body.{i}.bn2", width)
        if before != width:
            keys[f"body.{i}.downsample.0.weight"] = (width, before, 1, 1)
            keys |= norm(f"body.{i}.downsample.1", width)
    return keys


def dense(prefix, out, inputs):
    return {f"{prefix}.weight": (out, inputs), f"{prefix}.bias": (out,)}


def heads(*convs):
    keys = {}
    for i, count in enumerate(convs):
        for j in range(count):
            keys |= {
                f"styles.{i}.convs.{2 * j}.weight": (32, 32, 3, 3),
                f"styles.{i}.convs.{2 * j}.bias": (32,),
            }
        keys |= dense(f"styles.{i}.linear", 32, 32)
    return keys


LATERAL = {
    "latlayer1.weight": (32, 24, 1, 1),
    "latlayer1.bias": (32,),
    "latlayer2.weight": (32, 16, 1, 1),
    "latlayer2.bias": (32,),
}
PYRAMID = body(3) | LATERAL | heads(2, 2, 2, 3, 3, 3, 3, 4, 4, 4)
INTO_WPLUS = (
    body(3)
    | norm("output_layer_2.0", 32)
    | dense("output_layer_2.3", 16, 32 * 9)
    | dense("linear", 48, 16)
)
ARCFACE = (
    body(3, False)
    | norm("output_layer.0", 32)
    | dense("output_layer.3", 20, 32 * 4)
    | norm("output_layer.4", 20)
)
IRSE, RESNET = body(6) | heads(3, 3, 3), resnet_body(6) | heads(2, 2)
# Heads whose codes are shorter than their maps are wide, as a training of one's own may have them.
NARROW = IRSE | {
    f"styles.{i}.linear.{leaf}": (16, 32)[: 2 - (leaf == "bias")]
    for i in range(3)
    for leaf in ("weight", "bias")
}
CASES = {
    "gradual": (PYRAMID, encoders.gradual, GradualStyleEncoder(10, 64, 32, **BODY)),
    "e4e": (PYRAMID, encoders.encoder4editing, Encoder4Editing(10, 64, 32, **BODY)),
    "into_w": (body(3) | dense("linear", 16, 32), encoders.into_w, IntoW(16, **BODY)),
    "into_wplus": (INTO_WPLUS, encoders.into_wplus, IntoWPlus(3, 16, 3, **BODY)),
    "restyle_irse": (IRSE, encoders.restyle_irse, BackboneEncoder(3, False, 128, 32, **BODY)),
    "restyle_resnet": (
        RESNET,
        encoders.restyle_resnet,
        ResNetBackboneEncoder(2, False, 64, 32, BODY["counts"], BODY["widths"]),
    ),
    "narrow_heads": (
        NARROW,
        encoders.restyle_irse,
        BackboneEncoder(3, False, 128, 16, **BODY, channels=32),
    ),
    "arcface": (ARCFACE, encoders.arcface, ArcFace(20, **(BODY | {"squeeze": None}))),
}


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_inferred_and_the_round_trip_is_exact(name):
    shapes, layout_of, module = CASES[name]
    layout = layout_of(shapes)
    assert layout.module == module
    assert encoders.recognise(shapes) == {"e4e": "gradual", "narrow_heads": "restyle_irse"}.get(
        name, name
    )
    rng = np.random.default_rng(0)
    state = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    exported = layout.export(layout.convert(state))
    assert set(state) - set(exported) == {key for key in state if key.endswith(COUNTERS)}
    for key, array in exported.items():
        np.testing.assert_array_equal(array, state[key])


def test_arrays_land_where_they_belong():
    state = {key: np.zeros(shape, np.float32) for key, shape in CASES["into_wplus"][0].items()}
    state["body.1.res_layer.5.fc1.weight"][2, 5] = 1
    state["body.1.shortcut_layer.1.running_var"][3] = 2
    # Channel 7 of row 2, column 1 of the pooled map.
    state["output_layer_2.3.weight"][4, 7 * 9 + 2 * 3 + 1] = 3
    variables = encoders.into_wplus({key: array.shape for key, array in state.items()}).convert(
        state
    )
    unit = variables["params"]["body"]["unit_1"]
    assert unit["fc1"]["kernel"][5, 2] == 1
    assert variables["batch_stats"]["body"]["unit_1"]["shortcut_bn"]["var"][3] == 2
    assert variables["params"]["output_dense"]["kernel"][(2 * 3 + 1) * 32 + 7, 4] == 3


@pytest.mark.parametrize("layout_of", [encoders.restyle_irse, encoders.restyle_resnet])
def test_progressive_is_for_the_caller_to_say(layout_of):
    shapes = IRSE if layout_of is encoders.restyle_irse else RESNET
    assert layout_of(shapes, progressive=True).module.progressive
    assert "progressive" in layout_of(shapes, progressive=True).summary


def test_missing_keys_are_named():
    shapes = dict(PYRAMID)
    del shapes["body.2.res_layer.1.weight"]
    shapes["styles.8.linear.bias"] = (3,)
    faults = " ".join(encoders.gradual(shapes).faults(shapes))
    assert (
        "body.2.res_layer.1.weight is missing" in faults
        and "styles.8.linear.bias is (3,) instead of (32,)" in faults
    )
    assert len(encoders.gradual(shapes).faults(shapes)) == 2


@pytest.mark.parametrize(
    ("function", "lacking", "message"),
    [
        (encoders.gradual, "body", "no units of an encoder's body"),
        (encoders.restyle_irse, "styles", "no encoder heads"),
        (encoders.into_w, "linear", "linear.weight is missing"),
        (
            encoders.recognise,
            ("styles", "latlayer", "linear", "output"),
            "no encoder has these keys",
        ),
    ],
)
def test_what_cannot_be_inferred_is_explained(function, lacking, message):
    shapes = {key: shape for key, shape in PYRAMID.items() if not key.startswith(lacking)}
    with pytest.raises(UserError, match=message):
        function(shapes)


def test_a_body_of_other_groups_is_explained():
    with pytest.raises(UserError, match="have 8, 16, 17, 24, 32 channels"):
        encoders.gradual({**PYRAMID, "body.2.res_layer.1.weight": (17, 16, 3, 3)})


def test_a_dense_layer_of_another_map_is_explained():
    with pytest.raises(UserError, match="100 inputs does not fit 32 channels"):
        encoders.arcface({**ARCFACE, "output_layer.3.weight": (20, 100)})


def test_layout_of_the_published_size():
    widths = [64] * 3 + [128] * 4 + [256] * 14 + [512] * 3
    layout = encoders.gradual(
        {"input_layer.0.weight": (64, 3, 3, 3)}
        | {f"body.{i}.res_layer.1.weight": (width, 64, 3, 3) for i, width in enumerate(widths)}
        | {"body.0.res_layer.5.fc1.weight": (4, 64, 1, 1)}
        | {f"styles.{i}.linear.weight": (512, 512) for i in range(18)}
        | {f"styles.0.convs.{i}.weight": (512, 512, 3, 3) for i in (0, 2, 4, 6)}
    )
    assert layout.module == GradualStyleEncoder()
    assert layout.summary == "18 styles, body of 24 units, 3 input channels, pictures of 256 px"
