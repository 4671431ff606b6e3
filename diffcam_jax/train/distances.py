"""Distances of pictures through frozen networks, by the names of their weights in `config.loss`."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array
from ml_collections import ConfigDict

from diffcam_jax.losses import networks as perceptual
from diffcam_jax.losses import picture as losses
from diffcam_jax.pretrained import networks as pretrained


class Distance(NamedTuple):
    """A distance of two pictures: `function(variables, pred, target)` is one value a picture, [b].

    Attributes:
        variables: of the frozen network; empty for a distance of pixels.
        function: see above.
    """

    variables: dict[str, Any]
    function: Callable[[dict, Array, Array], Array]


def make_distances(config: ConfigDict) -> dict[str, Distance]:
    """Loads the distances whose weight in config.loss is not 0, and "l2" in any case.

    l2        mean squared error of the pixels
    lpips     LPIPS with AlexNet
    identity  1 - cosine of the embeddings of ArcFace from the folder config.identity; "" takes the
              embedded SFace on the same fixed crop, a stand-in: SFace was trained on crops that
              were aligned by landmarks
    vgg       mean squared difference of VGG16's relu4_3, from the folder config.perceptual (Caffe's
              weights); "" takes the embedded VGG16 (torchvision's), multiplied to Caffe's scale so
              that the official weight keeps its meaning

    Raises:
        UserError: a network is not available.
    """
    found = {"l2": Distance({}, lambda _, pred, target: losses.mse(pred, target))}
    if config.loss.get("lpips"):
        module, variables = pretrained.load("lpips").network("lpips_alex")
        found["lpips"] = Distance(variables, module.apply)
    if config.loss.get("identity"):
        found["identity"] = _identity(config.identity)
    if config.loss.get("vgg"):
        found["vgg"] = _vgg(config.perceptual)
    return found


def _identity(source: str) -> Distance:
    embed, variables = perceptual.identity(source)
    return Distance(variables, lambda v, a, b: losses.identity_distance(embed(v, a), embed(v, b)))


def _vgg(source: str) -> Distance:
    features, variables = perceptual.in_domain(source)
    return Distance(variables, lambda v, a, b: perceptual.distance(features(v, a), features(v, b)))
