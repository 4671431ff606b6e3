"""Invertibility decomposition: an alignment module alone, and the complete model."""

import functools
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts import invertibility as layout_of
from convert_weights.layouts.stylegan2 import generator_rosinality
from diffcam_jax.editing import decomposition
from diffcam_jax.editing.alignment import E4E
from diffcam_jax.editing.compose import blend
from diffcam_jax.editing.decomposition import Decomposer
from diffcam_jax.inversion.encoding import Encoder
from diffcam_jax.losses.masks import area_loss, binary_loss
from diffcam_jax.nn.invertibility import SpatialAlignment
from diffcam_jax.nn.network import Network

OUTSIDE = ("encoder.", "generator.")
# From the official training: largest mean of the mask at 32, 64, 128 and 256 pixels, and the
# weights of the two losses.
AREAS = (0.3, 0.3, 0.2, 0.2)
AREA_WEIGHT, BINARY_WEIGHT = 5.0, 5.0 * 0.04


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The networks of a complete checkpoint."""
    whole = fixture.shapes()
    encoder, generator = (fixture.shapes(prefix) for prefix in OUTSIDE)
    rest = {key: shape for key, shape in whole.items() if not key.startswith(OUTSIDE)}
    return [
        (layout_of.encoder(encoder), encoder),
        (generator_rosinality(generator), generator),
        (layout_of.aligner(rest), rest),
    ]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the fixture, NCHW.

    A partial fixture gives only the outputs of the networks that it holds.
    """
    found = _alone(fixture) if fixture.shapes("samm.") else {}
    return found | (_complete(fixture) if fixture.shapes("model.") else {})


def _alone(fixture: Fixture) -> dict[str, np.ndarray]:
    layout = layout_of.alignment(fixture.shapes("samm."))
    variables = layout.convert(fixture.state("samm."))
    module = layout.module.clone(**_alignment(fixture, "samm."))
    generated, encoded, coarser = (
        nhwc(fixture.inputs[name]) for name in ("gen_feat", "enc_feat", "aligned_low")
    )
    # The first cycle sees the unmoved features.
    probed = {"samm.align_single": "network"}
    (out, field), found = probes.run(module, variables, generated, encoded, probes=probed)
    found |= {"samm.out": out, "samm.align": field}
    (out, field), _ = probes.run(module, variables, generated, encoded, coarser)
    found |= {"samm.out_with_lower": out, "samm.align_with_lower": field}
    return {name: nchw(value) for name, value in found.items()}


def _complete(fixture: Fixture) -> dict[str, np.ndarray]:
    shapes = {prefix: fixture.shapes(f"model.{prefix}") for prefix in OUTSIDE}
    rest = {
        key: shape for key, shape in fixture.shapes("model.").items() if not key.startswith(OUTSIDE)
    }
    encoder, generator = (
        layout_of.encoder(shapes["encoder."]),
        generator_rosinality(shapes["generator."]),
    )
    aligner = layout_of.aligner(rest)
    moving = aligner.module.clone(**_alignment(fixture, "model."))
    images = jnp.asarray(nhwc(fixture.inputs["x"]))

    # The encoder is by far the largest network: its weights are freed before the others are loaded.
    average, delta = (fixture.state(f"model.{name}_latent")[""] for name in ("avg", "delta"))
    empty = Decomposer(
        Network(generator.module, {}),
        Encoder(Network(encoder.module, {}), average),
        Network(moving, {}),
        E4E,
    )
    reading = Network(encoder.module, encoder.convert(fixture.state("model.encoder.")))
    codes, maps = jax.jit(decomposition.encode)(
        empty.replace(encoder=Encoder(reading, average)), images
    )
    codes = codes + delta
    share = float(argument(fixture, "model.", "truncation", "1"))
    codes = decomposition.truncated(codes, jnp.asarray(average), share)
    del reading

    drawn, trained = fixture.state("model.generator."), {}
    for prefix in ("feats_conv.", "modulation."):
        trained |= {prefix + key: array for key, array in fixture.state(f"model.{prefix}").items()}
    # Officially noise is drawn anew; the fixture stores the draw.
    drawn |= {
        key: fixture.inputs[f"noise.{key.rpartition('_')[2]}"]
        for key in drawn
        if key.startswith("noises.")
    }
    networks = empty.replace(
        generator=Network(generator.module, generator.convert(drawn)),
        aligner=Network(moving, aligner.convert(trained)),
    )
    largest = int(argument(fixture, "model.", "ModSize", str(max(moving.sides))))
    image, mask, levels, encoded, picture, losses = _drawn(networks, codes, maps, images, largest)

    found = {
        "model.latents": np.asarray(codes),
        "model.output": nchw(image),
        "model.generator_image": nchw(picture),
    }
    found["model.blend_mask"] = np.asarray(mask)[:, None]
    for index, ((moved, field), features) in enumerate(zip(levels, encoded)):
        official = len(encoded) - 1 - index
        found[f"model.aligns.{index + 1}"] = nchw(field)
        found[f"probe.model.modulation.{official}"], found[f"probe.model.feats_conv.{official}"] = (
            nchw(moved),
            nchw(features),
        )
    return found | {f"model.mask_loss_{name}": np.asarray(value) for name, value in losses.items()}


def _alignment(fixture: Fixture, prefix: str) -> dict[str, Any]:
    """What the alignment's weights do not show: how often and how far it moves features."""
    cycles, scale = (
        argument(fixture, prefix, *of) for of in (("cycle_align", "2"), ("warp_scale", "0.08"))
    )
    return {"cycles": int(cycles), "scale": float(scale)}


def argument(fixture: Fixture, prefix: str, name: str, usual: str) -> str:
    """An argument of the official call or module.

    Args:
        fixture: has it among the inputs, or tells it in words beside an output or a module.
        prefix: of the outputs, and name of the module.
        name: of the argument.
        usual: its value where the fixture does not tell.
    """
    if name in fixture.inputs:
        return str(fixture.inputs[name].reshape(-1)[0])
    names = [output for output in fixture.manifest["outputs"] if output.startswith(prefix)]
    told = [fixture.description(output) for output in names]
    told.append(str(dict(fixture.manifest.get("modules", {})).get(prefix, "")))
    found = (re.search(rf"\b{name}\b[ =:]*(\d+(?:\.\d+)?)", text) for text in told)
    return next((match[1] for match in found if match), usual)


@functools.partial(jax.jit, static_argnames="largest")
def _drawn(
    networks: Decomposer, codes: Array, maps: list[Array], images: Array, largest: int
) -> tuple[Any, ...]:
    """The blend and all intermediate values of the complete model.

    These are the mask, the result of every level, the encoder's features as compared, the
    generator's picture, and the losses.
    """
    levels = []

    def record(
        method: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        result = method(*args, **kwargs)
        if isinstance(context.module, SpatialAlignment) and context.method_name == "__call__":
            levels.append(result)
        return result

    with nn.intercept_methods(record):
        picture, fields = decomposition.draw(networks, codes, maps, largest=largest)
    encoded = networks.aligner(maps, method="encode")
    masks = [field[..., 2] for field in fields]
    mask = decomposition.fuse(masks, images.shape[1])
    losses = {
        "area": AREA_WEIGHT * area_loss(masks, AREAS[: len(masks)]),
        "binary": BINARY_WEIGHT * binary_loss(masks),
    }
    return blend(images, picture, 1 - mask), mask, levels, encoded, picture, losses
