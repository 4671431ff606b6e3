"""The kinds of checkpoints that can be converted, in one table: their networks and where they are.

A part is found by a key that only its network has; whatever precedes that key in the file is its
prefix ("g_ema/", "state_dict/decoder.", "module.", or nothing), so wrappers of any depth are
accepted.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from convert_weights.layout import Layout, Shapes
from diffcam_jax.errors import UserError

LayoutFunction = Callable[[Shapes, Mapping[str, Any]], Layout]
NOTES = "training state: step counts, options, optimisers"


@dataclass(frozen=True)
class Part:
    """One network of a kind.

    Attributes:
        role: the role under which pipelines ask for it.
        probe: an official key of the network that marks its position in the file.
        layout: (official key -> shape, notes of the file) -> `Layout`.
        preferred: prefixes that are preferred when the network is in the file several times, best
            first.
        optional: whether a checkpoint without it is complete.
        spare: beginnings of names of a network that is left out, and said to be, where it is of
            another architecture than ours; nothing but training would miss it.
    """

    role: str
    probe: str
    layout: LayoutFunction
    preferred: tuple[str, ...] = ()
    optional: bool = False
    spare: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """One kind of checkpoint.

    Attributes:
        description: for people, with the usual file name.
        licence: of the published weights, if known.
        parts: its networks; at least one must be in the file.
        latent_avg: keys, from the end, under which the mean code is stored.
        ignored: regular expression of whole names -> why they are not converted.
    """

    description: str
    licence: str
    parts: tuple[Part, ...]
    latent_avg: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)


def _layout(module: str, function: str) -> LayoutFunction:
    """A layout that needs only the shapes; imported when it is used."""

    def layout(shapes: Shapes, notes: Mapping[str, Any]) -> Layout:
        return getattr(importlib.import_module(f"convert_weights.layouts.{module}"), function)(
            shapes
        )

    return layout


def option(notes: Mapping[str, Any], name: str) -> str:
    """What the training options say of an encoder, such as its class, or nothing."""
    return str(notes.get(name) or notes.get(f"opts/{name}") or "")


def _ada_generator(shapes: Shapes, notes: Mapping[str, Any]) -> Layout:
    from convert_weights.layouts.stylegan2 import generator_ada

    layout = generator_ada(shapes)
    # Training in half precision clamps activations; the number is an argument of the network, not
    # an entry of its state.
    clamp = next(
        (
            value
            for name, value in notes.items()
            if name.endswith("G_ema/init/synthesis_kwargs/conv_clamp")
        ),
        None,
    )
    return replace(layout, module=layout.module.clone(conv_clamp=float(clamp))) if clamp else layout


def _psp_encoder(shapes: Shapes, notes: Mapping[str, Any]) -> Layout:
    from convert_weights.layouts import encoders

    if option(notes, "encoder_type").startswith("Encoder4Editing"):
        raise UserError("its options say Encoder4Editing; convert it with the kind e4e")
    found = encoders.recognise(shapes)
    layouts = {
        "gradual": encoders.gradual,
        "into_w": encoders.into_w,
        "into_wplus": encoders.into_wplus,
    }
    if found not in layouts:
        raise UserError("its encoder is none of pSp's; try the kind restyle or auto")
    return layouts[found](shapes)


def _e4e_encoder(shapes: Shapes, notes: Mapping[str, Any]) -> Layout:
    from convert_weights.layouts import encoders

    if option(notes, "encoder_type").startswith("GradualStyle"):
        raise UserError("its options say GradualStyleEncoder; convert it with the kind psp")
    return encoders.encoder4editing(shapes)


def _restyle_encoder(shapes: Shapes, notes: Mapping[str, Any]) -> Layout:
    from convert_weights.layouts import encoders

    progressive = "Progressive" in option(notes, "encoder_type")
    if "input_layer.0.weight" in shapes:
        return encoders.restyle_irse(shapes, progressive=progressive)
    return encoders.restyle_resnet(shapes, progressive=progressive)


def _decomposing_encoder(shapes: Shapes, notes: Mapping[str, Any]) -> Layout:
    from convert_weights.layouts import invertibility

    return invertibility.encoder(shapes)


def _torchvision_vgg(shapes: Shapes, notes: Mapping[str, Any]) -> Layout:
    from convert_weights.layouts import vgg

    return (vgg.torchvision_vgg19 if "features.34.weight" in shapes else vgg.torchvision_vgg16)(
        shapes
    )


_EMA = ("g_ema/", "G_ema/", "params_ema/", "generator_ema.")
_NVIDIA = "descends from NVIDIA's StyleGAN2: non-commercial research"
_ROSINALITY_G = Part(
    "generator", "conv1.conv.modulation.weight", _layout("stylegan2", "generator_rosinality"), _EMA
)
_ROSINALITY_D = Part(
    "discriminator",
    "final_linear.0.weight",
    _layout("stylegan2", "discriminator_rosinality"),
    ("d/",),
    optional=True,
    spare=("d/", "discriminator/", "discriminator."),
)
_OPTIMISERS = "g_optim|d_optim|optimizer|optimizer_state_dict|d_optimizer|scheduler"
_TRAINED_ALONG = "discriminator_state_dict|latent_discriminator|discriminator_optimizer_state_dict"
_TRAINING = {
    rf"(.*/)?({_OPTIMISERS})/.*": "state of an optimiser",
    rf"(.*/)?({_TRAINED_ALONG})/.*": "needed in training only",
    r"(.*/)?(ada_aug_p|global_step|step|iter|iteration|epoch)": NOTES,
    r"(.*/)?opts/.*": NOTES,
}


def _inverter(description: str, licence: str, encoder: Part) -> Kind:
    """A pSp-like checkpoint: an encoder, the generator it was trained with, the mean code."""
    generator = Part(
        "generator",
        _ROSINALITY_G.probe,
        _ROSINALITY_G.layout,
        ("state_dict/decoder.", "decoder."),
        optional=True,
    )
    return Kind(description, licence, (encoder, generator), ("latent_avg",), _TRAINING)


KINDS: dict[str, Kind] = {
    "stylegan2": Kind(
        "rosinality's StyleGAN2 (stylegan2-ffhq-config-f.pt)",
        _NVIDIA,
        (_ROSINALITY_G, _ROSINALITY_D),
        ("latent_avg",),
        _TRAINING,
    ),
    "stylegan2_ada": Kind(
        "NVIDIA's StyleGAN2-ADA (ffhq.pkl)",
        "NVIDIA Entry Code License: non-commercial research",
        (
            Part("generator", "synthesis.b4.conv1.affine.weight", _ada_generator, _EMA),
            Part(
                "discriminator",
                "b4.out.weight",
                _layout("stylegan2", "discriminator_ada"),
                ("D/",),
                optional=True,
                spare=("D/",),
            ),
        ),
        ("mapping.w_avg",),
        {r"training_set_kwargs(/.*)?|augment_pipe(/.*)?": "needed in training only"},
    ),
    "mmgen": Kind(
        "MMGeneration's StyleGAN2 (stylegan2_c2_ffhq_1024_*.pth)",
        _NVIDIA,
        (
            Part(
                "generator",
                "conv1.conv.style_modulation.linear.weight_orig",
                _layout("stylegan2", "generator_mmgen"),
                _EMA,
            ),
            Part(
                "discriminator",
                "final_linear.0.linear.weight_orig",
                _layout("stylegan2", "discriminator_mmgen"),
                optional=True,
                spare=("state_dict/discriminator.", "discriminator."),
            ),
        ),
        ignored=_TRAINING | {r"(.*/)?meta/.*": NOTES},
    ),
    "psp": _inverter(
        "pixel2style2pixel (psp_ffhq_encode.pt)",
        "MIT; its generator " + _NVIDIA,
        Part("encoder", "input_layer.0.weight", _psp_encoder, ("state_dict/encoder.", "encoder.")),
    ),
    "e4e": _inverter(
        "encoder4editing (e4e_ffhq_encode.pt)",
        "MIT; its generator " + _NVIDIA,
        Part("encoder", "input_layer.0.weight", _e4e_encoder, ("state_dict/encoder.", "encoder.")),
    ),
    "restyle": _inverter(
        "ReStyle over pSp or e4e (restyle_psp_ffhq_encode.pt)",
        "MIT; its generator " + _NVIDIA,
        Part(
            "encoder",
            "body.0.res_layer.1.weight|body.0.conv1.weight",
            _restyle_encoder,
            ("state_dict/encoder.", "encoder."),
        ),
    ),
    "diffcam": Kind(
        "the DA classifier of Editing Out-of-Domain (diff_cam_weight.pt)",
        "none published with the release",
        (Part("classifier", "shared.0.weight", _layout("resnet", "diffcam")),),
    ),
    "deghost": Kind(
        "the deghosting network of Editing Out-of-Domain (deghosting.pt)",
        "none published with the release; " + _NVIDIA,
        (
            Part(
                "deghoster", "FCN.encoder.0.conv_first.weight", _layout("deghosting", "deghosting")
            ),
        ),
    ),
    "idinvert": Kind(
        "in-domain inversion (styleganinv_ffhq256_generator.pth, ..._encoder.pth, vgg16.pth)",
        "MIT",
        (
            Part(
                "generator",
                "synthesis.layer0.const",
                _layout("idinvert", "generator"),
                optional=True,
            ),
            Part("encoder", "block0.conv.weight", _layout("idinvert", "encoder"), optional=True),
            Part("perceptual", "layer21.weight", _layout("idinvert", "perceptual"), optional=True),
        ),
        ("truncation.w_avg",),
    ),
    "invertibility": Kind(
        "invertibility decomposition (net_g_*.pth)",
        "none published with the release; its generator " + _NVIDIA,
        (
            Part(
                "encoder",
                "styles.0.linear.weight|styles.0.weight",
                _decomposing_encoder,
                ("params_ema/encoder.",),
            ),
            Part(
                "generator", _ROSINALITY_G.probe, _ROSINALITY_G.layout, ("params_ema/generator.",)
            ),
            Part(
                "aligner",
                "modulation.0.alignment.body.body.0.res_layer.1.weight",
                _layout("invertibility", "aligner"),
                _EMA,
            ),
        ),
        ("avg_latent",),
    ),
    "feature_style": Kind(
        "feature-style encoder (143_enc.pth)",
        "InterDigital: evaluation only",
        (Part("encoder", "content_layer.0.weight", _layout("feature_style", "encoder")),),
    ),
    "arcface": Kind(
        "ArcFace IR-SE50 (model_ir_se50.pth)",
        "MIT; trained on MS-Celeb-1M: research",
        (Part("identity", "output_layer.3.weight", _layout("encoders", "arcface")),),
    ),
    "lpips": Kind(
        "LPIPS 0.1, a state dict of one net (alex, vgg or squeeze)",
        "BSD-2-Clause",
        (Part("lpips", "lin0.model.1.weight", _layout("lpips", "lpips")),),
    ),
    "inception": Kind(
        "Inception-V3 as FID uses it (pt_inception-2015-12-05-6726825d.pth)",
        "Apache-2.0",
        (Part("inception", "Mixed_5b.branch1x1.conv.weight", _layout("inception", "inception")),),
    ),
    "styleflow": Kind(
        "StyleFlow's continuous flow between W+ codes (modellarge10k.pt)",
        "CC BY-NC-SA 4.0",
        (
            Part(
                "flow",
                "chain.1.odefunc.diffeq.layers.0._layer.weight",
                _layout("styleflow", "styleflow"),
            ),
        ),
    ),
    "vgg": Kind(
        "torchvision's VGG16 or VGG19 (vgg16-397923af.pth)",
        "BSD-3-Clause",
        (Part("vgg", "features.0.weight", _torchvision_vgg),),
    ),
    "resnet": Kind(
        "torchvision's ResNet-18, -34, -50 or -101 (resnet101-*.pth)",
        "BSD-3-Clause",
        (Part("resnet", "layer1.0.conv1.weight", _layout("resnet", "torchvision_resnet")),),
    ),
}
