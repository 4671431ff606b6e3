"""The DA classifier of Editing Out-of-Domain: every stage from the difference to the blend."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.resnet import diffcam as diffcam_layout
from diffcam_jax.editing import diffcam
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.compose import blend, resize_mask, training_mask
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The one network."""
    shapes = fixture.shapes()
    return [(diffcam_layout(shapes), shapes)]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the manifest."""
    ((layout, _),) = layouts(fixture)
    classifier = Classifier(Network(layout.module, layout.convert(fixture.state())))
    before, after = nhwc(fixture.inputs["x"][:, :3]), nhwc(fixture.inputs["x"][:, 3:])
    classes = np.array(_numbers(fixture, "cam_weights", r"classes \[([\d, ]+)\]", [4, 12]))
    (single,) = _numbers(fixture, "mask_single", r"int (\d+)", [4])
    (sample,) = _numbers(fixture, "mask_single", r"sample (\d+)", [0])
    stages = _stages(classifier, before, after, classes)
    mask = _stages(classifier, before, after, np.full_like(classes, single))["mask"]
    mask = mask[sample : sample + 1]
    return {
        "feat_inverted": nchw(stages["inverted"]),
        "feat_delta": nchw(stages["delta"]),
        "layer4": nchw(stages["activations"]),
        "logits": stages["logits"],
        "cam_weights": stages["beta"],
        "cam_raw": stages["maps"],
        "mask": stages["mask"],
        "mask_single": mask,
        **_fusions(fixture, mask),
    }


@jax.jit
def _stages(
    classifier: Classifier, before: jax.Array, after: jax.Array, classes: jax.Array
) -> dict:
    delta = diffcam.delta_features(classifier, before, after)
    logits, activations = classifier.network(delta, method="head")
    beta = diffcam.channel_weights(classifier, activations, classes)
    maps = diffcam.activation_map(activations, beta)
    return {
        "inverted": classifier.network(before, method="features"),
        "delta": delta,
        "activations": activations,
        "logits": logits,
        "beta": beta,
        "maps": maps,
        # The release swaps width and height.
        "mask": diffcam.map_to_mask(jax.nn.relu(maps), before.shape[2:0:-1]),
    }


def _fusions(fixture: Fixture, mask: jax.Array) -> dict[str, np.ndarray]:
    """The input of the deghosting network in use and in training."""
    edited, original = nhwc(fixture.inputs["edited"]), nhwc(fixture.inputs["original"])
    mask = resize_mask(mask, edited.shape[1:3], "nearest")
    size = tuple(fixture.manifest["outputs"]["fused_reduced"]["shape"][2:])
    reduced = resize(blend(jnp.asarray(original), jnp.asarray(edited), mask), size, "area")
    training = blend(jnp.asarray(original), jnp.asarray(edited), training_mask(mask))
    return {"fused_reduced": nchw(reduced), "fused_training": nchw(training)}


def _numbers(fixture: Fixture, output: str, pattern: str, usual: list[int]) -> list[int]:
    found = re.search(pattern, fixture.description(output))
    return [int(number) for number in found[1].split(",")] if found else usual
