"""The published MobileStyleGAN itself under OpenVINO: styles, pictures, and every layer."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.ops.haar import forward_haar
from diffcam_jax.ops.image import resize
from diffcam_jax.pretrained import networks as pretrained


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the manifest."""
    model, variables = pretrained.load("mobile_stylegan_ffhq").network("generator")
    mapping = jax.jit(lambda variables, z: model.apply(variables, z, method="mapping"))
    synthesis = jax.jit(lambda variables, w: model.apply(variables, w, method="synthesis"))
    ours = mapping(variables, fixture.inputs["z"])
    mean = mapping(variables, fixture.inputs["z_mean"]).mean(0, keepdims=True)
    # The last bit of the mapping's norm already changes single pixels by 1e-4, the reference's own
    # distance to float64. Each of the two networks is therefore compared with its counterpart on
    # equal inputs.
    stored = fixture.outputs["w"]
    w = jnp.asarray(stored) if stored.shape == ours.shape else ours
    images = [synthesis(variables, row[None]) for row in w]
    psi = float(_numbers(fixture, "truncated_image_64", r"alpha=([\d.]+)", "0.5")[0])
    truncated = synthesis(variables, mean + psi * (w[:1] - mean))
    top, left = map(int, _numbers(fixture, "crop_64", r"\((\d+), (\d+)\)", "480", "480"))
    height, width = _size(fixture, "crop_64")
    return {
        "w": ours,
        "style_mean": mean,
        "image_128": nchw(
            np.concatenate([resize(image, _size(fixture, "image_128"), "area") for image in images])
        ),
        "crop_64": nchw(
            np.concatenate([image[:, top : top + height, left : left + width] for image in images])
        ),
        "image.mean": np.concatenate([image.mean((1, 2)) for image in images]),
        "image.std": np.concatenate([image.std((1, 2)) for image in images]),
        "truncated_image_64": nchw(resize(truncated, _size(fixture, "truncated_image_64"), "area")),
        **_layers(fixture, model, variables, w[:1]),
    }


def _layers(
    fixture: Fixture, model: MobileStyleGAN, variables: dict, w: jax.Array
) -> dict[str, np.ndarray]:
    """The probes: nodes of the OpenVINO graph, whose numbers rise by 100 from block to block."""
    paths = {}
    for name in fixture.manifest["outputs"]:
        if number := re.fullmatch(r"probe\.LeakyRelu_(\d+)", name):
            block, node = divmod(int(number[1]), 100)
            # 42 is the layer at 4x4; 109 and 142 are the two convolutions of the first block.
            paths[name] = f"block_{block - 1}/conv{1 if node == 9 else 2}" if block else "conv1"
    if not paths:
        return {}
    image, values = probes.run(model, variables, w, probes=paths, method="synthesis")
    last = f"block_{len(model.widths) - 2}/conv2"
    results = {}
    for name, value in values.items():
        feeds_haar = paths[name] == "conv1" or (
            paths[name].endswith("conv2") and paths[name] != last
        )
        results[name] = nchw(_interleaved(value) if feeds_haar else value)
    results["probe.Add_754"] = nchw(_interleaved(forward_haar(image)))
    return results


def _interleaved(bands: jax.Array) -> jax.Array:
    """Contiguous bands ll, lh, hl, hh in the published order.

    There the three high bands of a channel are neighbours.
    """
    low, *high = jnp.split(bands, 4, axis=-1)
    return jnp.concatenate([low, jnp.stack(high, axis=-1).reshape(*low.shape[:-1], -1)], axis=-1)


def _size(fixture: Fixture, output: str) -> tuple[int, int]:
    return tuple(fixture.manifest["outputs"][output]["shape"][2:])


def _numbers(fixture: Fixture, output: str, pattern: str, *usual: str) -> tuple[str, ...]:
    found = re.search(pattern, fixture.description(output))
    return found.groups() if found else usual
