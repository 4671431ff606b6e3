"""Invertibility decomposition's checkpoints to folders and back, and the numbers of its alignment
module.
"""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.__main__ import main
from convert_weights.check import check
from convert_weights.fixture import Fixture
from convert_weights.layouts import invertibility
from convert_weights.state import read_state
from diffcam_jax.editing.alignment import E4E
from diffcam_jax.editing.decomposition import Decomposer, decompose
from diffcam_jax.formats.torch_writer import write_torch
from diffcam_jax.inversion.encoding import encoder_of
from diffcam_jax.nn.feature_style import FeatureStyleEncoder
from diffcam_jax.nn.invertibility import BicubicEncoder4Editing
from diffcam_jax.nn.restyle import BackboneEncoder
from diffcam_jax.pretrained import networks as pretrained
from tests import test_encoder_layouts, test_feature_style

FIXTURE = pathlib.Path(__file__).parent / "data/parity/ood_samm"
# At 32, 64, 128 and 256 pixels.
GENERATED, ENCODED = (4, 3, 3, 2), (24, 16, 8, 8)
WIDTHS, LATENT, STYLES = (6, 6, 5, 4, 3, 3, 2), 32, 14
TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def trained():
    """Keys and shapes of what is trained, for fewer channels; 0 is the level of 256 pixels."""
    keys = {}
    for level, (width, inputs) in enumerate(zip(GENERATED[::-1], ENCODED[::-1])):
        keys |= {
            f"feats_conv.{level}.weight": (width, inputs, 1, 1),
            f"feats_conv.{level}.bias": (width,),
        }
        keys |= {f"modulation.{level}.weight": (1,), f"modulation.{level}.noiseInj.weight": (1,)}
        keys[f"modulation.{level}.alignment.blur.kernel"] = (4, 4)
        for block, out in enumerate((2 * width, 3)):
            name = f"modulation.{level}.alignment.body.body.{block}"
            keys |= {f"{name}.res_layer.0.{leaf}": (2 * width,) for leaf in ("weight", "bias")}
            keys |= {
                f"{name}.res_layer.1.weight": (out, 2 * width, 3, 3),
                f"{name}.res_layer.2.weight": (out,),
            }
            keys |= {f"{name}.res_layer.3.weight": (out, out, 3, 3)}
            keys |= {f"{name}.res_layer.4.{leaf}": (out,) for leaf in ("weight", "bias")}
            if block:
                keys[f"{name}.shortcut_layer.0.weight"] = (3, 2 * width, 1, 1)
                keys |= {f"{name}.shortcut_layer.1.{leaf}": (3,) for leaf in ("weight", "bias")}
    return keys


def generator():
    """A StyleGAN2 of 256 pixels in rosinality's names."""
    keys = {"input.input": (1, WIDTHS[0], 4, 4)}
    for i in (1, 2):
        keys |= {f"style.{i}.weight": (LATENT, LATENT), f"style.{i}.bias": (LATENT,)}

    def styled(name, inputs, out, side):
        keys[f"{name}.conv.weight"] = (1, out, inputs, side, side)
        keys[f"{name}.conv.modulation.weight"], keys[f"{name}.conv.modulation.bias"] = (
            (inputs, LATENT),
            (inputs,),
        )
        if side == 3:
            keys[f"{name}.noise.weight"], keys[f"{name}.activate.bias"] = (1,), (out,)
        else:
            keys[f"{name}.bias"] = (1, 3, 1, 1)

    styled("conv1", WIDTHS[0], WIDTHS[0], 3)
    styled("to_rgb1", WIDTHS[0], 3, 1)
    keys["noises.noise_0"] = (1, 1, 4, 4)
    for i, (inputs, out) in enumerate(itertools.pairwise(WIDTHS)):
        styled(f"convs.{2 * i}", inputs, out, 3)
        styled(f"convs.{2 * i + 1}", out, out, 3)
        styled(f"to_rgbs.{i}", out, 3, 1)
        keys[f"convs.{2 * i}.conv.blur.kernel"] = keys[f"to_rgbs.{i}.upsample.kernel"] = (4, 4)
        keys |= {f"noises.noise_{2 * i + k}": (1, 1, 8 * 2**i, 8 * 2**i) for k in (1, 2)}
    return keys


def e4e():
    pyramid = test_encoder_layouts.body(3) | test_encoder_layouts.LATERAL
    return pyramid | test_encoder_layouts.heads(*[4] * 3, *[5] * 4, *[6] * 7)


def restyle():
    return test_encoder_layouts.body(6) | test_encoder_layouts.heads(*[4] * STYLES)


def feature_style():
    return test_feature_style.official(STYLES, LATENT, 5, (1, 2, 1, 1), (8, 8, 16, 24))


ENCODERS = {
    "e4e": (e4e, BicubicEncoder4Editing),
    "restyle": (restyle, BackboneEncoder),
    "feature_style": (feature_style, FeatureStyleEncoder),
}


def state(encoder, seed):
    rng = np.random.default_rng(seed)
    shapes = {f"encoder.{key}": shape for key, shape in encoder().items()} | trained()
    shapes |= {f"generator.{key}": shape for key, shape in generator().items()}
    shapes |= {"avg_latent": (1, LATENT), "delta_latent": (1, STYLES, LATENT)}
    arrays = {}
    for key, shape in shapes.items():
        value = rng.standard_normal(shape)
        if shape == (4, 4):
            value = TAPS * (4 if "generator" in key else 1)
        elif key.endswith("num_batches_tracked"):
            value = np.zeros(shape)
        elif (
            key.startswith("modulation")
            and key.count(".") == 2
            and key.endswith(".weight")
            and "noiseInj" not in key
        ):
            value = np.ones(shape)
        elif key.endswith("running_var"):
            value = np.abs(value)
        arrays[key] = value.astype(np.int64 if key.endswith("tracked") else np.float32)
    return arrays


@pytest.mark.parametrize("name", ENCODERS)
def test_there_and_back_bit_for_bit(name, tmp_path, capsys):
    encoder, expected = ENCODERS[name]
    source, folder, back = tmp_path / "net_g.pth", tmp_path / "converted", tmp_path / "back.pth"
    averaged = state(encoder, 1)
    write_torch(source, {"params": state(encoder, 0), "params_ema": averaged})
    assert main(["auto", "--src", str(source), "--dst", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "params_ema/ is used, not its copies under params/" in printed
    model = pretrained.load(folder)
    assert model.config["kind"] == "invertibility" and sorted(model.networks) == [
        "aligner",
        "encoder",
        "generator",
    ]
    assert type(model.network("encoder").module) is expected
    np.testing.assert_array_equal(model.arrays["latent_avg"], averaged["avg_latent"][0])
    aligner = model.network("aligner")
    assert aligner.module.features == GENERATED and aligner.module.sides == (32, 64, 128, 256)
    kernel = aligner.variables["params"]["level_0"]["network"]["block_0"]["conv1"]["kernel"]
    official = averaged["modulation.3.alignment.body.body.0.res_layer.1.weight"]
    np.testing.assert_array_equal(kernel, official.transpose(2, 3, 1, 0))

    assert main(["export", "--src", str(folder), "--dst", str(back)]) == 0
    again = read_state(back).arrays
    assert {key.removeprefix("params_ema/") for key in again} == averaged.keys()
    for key, array in averaged.items():
        assert again[f"params_ema/{key}"].tobytes() == array.tobytes(), key


def test_the_converted_networks_go_together(tmp_path):
    write_torch(tmp_path / "net_g.pth", {"params_ema": state(e4e, 0)})
    assert (
        main(
            ["invertibility", "--src", str(tmp_path / "net_g.pth"), "--dst", str(tmp_path / "out")]
        )
        == 0
    )
    model = pretrained.load(tmp_path / "out")
    generator, aligner = model.network("generator"), model.network("aligner")
    networks = Decomposer(generator, encoder_of(model, STYLES), aligner, E4E)
    assert aligner.module.inputs == (24, 16, 8, 8)
    found = jax.eval_shape(decompose, networks, jnp.zeros((1, 256, 256, 3)))
    assert [field.shape[1] for field in found.fields] == [32, 64, 128, 256]


def test_a_feature_style_encoder_alone(tmp_path):
    shapes = test_feature_style.official()
    arrays = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    write_torch(tmp_path / "143_enc.pth", arrays)
    assert (
        main(["auto", "--src", str(tmp_path / "143_enc.pth"), "--dst", str(tmp_path / "out")]) == 0
    )
    model = pretrained.load(tmp_path / "out")
    assert (
        model.config["kind"] == "feature_style"
        and model.network("encoder").module == test_feature_style.TINY
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("modulation.2.alignment.body.body.0.res_layer.3.weight"),
            "modulation.2.alignment.body.body.0.res_layer.3.weight is missing",
        ),
        (
            lambda s: s.pop("feats_conv.1.weight"),
            "4 alignment modules and their feats_conv do not go together",
        ),
        (
            lambda s: s.update({"modulation.1.weight": np.full(1, 2, np.float32)}),
            "modulation.1.weight is not the filter",
        ),
        (
            lambda s: s.update({"modulation.0.more": np.zeros(1, np.float32)}),
            "modulation.0.more is left over",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message, tmp_path, capsys):
    arrays = state(e4e, 0)
    change(arrays)
    write_torch(tmp_path / "net_g.pth", {"params_ema": arrays})
    assert (
        main(
            ["invertibility", "--src", str(tmp_path / "net_g.pth"), "--dst", str(tmp_path / "out")]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert message in error and not (tmp_path / "out").exists()


def test_an_encoder_of_another_kind():
    with pytest.raises(
        Exception, match="its encoder is none of e4e's, ReStyle's and FeatureStyle's"
    ):
        invertibility.encoder(test_encoder_layouts.INTO_WPLUS)


def test_numbers_of_the_official_module():
    rows = check(Fixture(FIXTURE))
    assert len(rows) == 5 and all(row.passed for row in rows), rows
