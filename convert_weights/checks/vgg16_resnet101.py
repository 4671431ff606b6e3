"""VGG16 and ResNet-101 of torchvision, and the losses of the deghosting network's training."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import max_pool

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.resnet import torchvision_resnet
from convert_weights.layouts.vgg import torchvision_vgg16
from diffcam_jax.losses import picture as losses
from diffcam_jax.losses.adversarial import nonsaturating_loss
from diffcam_jax.nn.vgg import VGG16, VGG16_WIDTHS
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The networks that the fixture holds."""
    makers = {"vgg16.": torchvision_vgg16, "resnet101.": torchvision_resnet}
    present = {prefix: fixture.shapes(prefix) for prefix in makers}
    return [(makers[prefix](shapes), shapes) for prefix, shapes in present.items() if shapes]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the manifest; x is in [0, 1], y and t in [-1, 1]."""
    x, y, t = (nhwc(fixture.inputs[name]) for name in "xyt")
    normalised = (x - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    results = {}
    if shapes := fixture.shapes("vgg16."):
        variables = torchvision_vgg16(shapes).convert(fixture.state("vgg16."))
        results = _vgg(fixture, variables, normalised)
        results["perceptual_loss_x100"] = _perceptual(variables, y, t)
    if shapes := fixture.shapes("resnet101."):
        layout = torchvision_resnet(shapes)
        results |= _resnet(layout, layout.convert(fixture.state("resnet101.")), normalised)
    # The weight of the perceptual loss is 0.01, scaled by a hundred here; it applies to the
    # generator's adversarial loss as well.
    scores = jnp.asarray(y.mean((1, 2, 3)))
    # Cross-entropy with the label 1, and with 0: the logistic losses of `gan_losses`.
    real, fake = (nonsaturating_loss(logits).mean() for logits in (scores, -scores))
    results["gan_loss"] = np.asarray([0.01 * real, real, fake])
    return results


def _vgg(fixture: Fixture, variables: dict, pictures: np.ndarray) -> dict[str, np.ndarray]:
    names = [
        name.removeprefix("vgg16.")
        for name in fixture.manifest["outputs"]
        if name.startswith("vgg16.")
    ]
    # A pool is not a tap of the trunk; it follows its stage's last ReLU.
    before = {
        name: f"relu{name[4:]}_{len(VGG16_WIDTHS[int(name[4:]) - 1])}"
        for name in names
        if name[:4] == "pool"
    }
    trunk = VGG16(tuple({before.get(name, name): None for name in names}))
    found = jax.jit(trunk.apply)(variables, pictures)
    found |= {pool: max_pool(found[relu], (2, 2), (2, 2)) for pool, relu in before.items()}
    return {f"vgg16.{name}": nchw(found[name]) for name in names}


def _perceptual(variables: dict, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    trunk = VGG16(("conv4_3",))

    @jax.jit
    def loss(variables, pred, target):
        return losses.perceptual(
            pred, target, lambda x: list(trunk.apply(variables, x).values())
        ).mean()

    return np.asarray(loss(variables, pred, target))


def _resnet(layout: Layout, variables: dict, pictures: np.ndarray) -> dict[str, np.ndarray]:
    (logits, taps), found = probes.run(layout.module, variables, pictures, probes={"bn1": "bn1"})
    stages = {
        "bn1": found["bn1"],
        "maxpool": taps["stem"],
        **{f"layer{i}": taps[f"layer{i}"] for i in (1, 2, 3, 4)},
    }
    results = {f"probe.resnet101.{name}": nchw(value) for name, value in stages.items()}
    return results | {"resnet101.logits": np.asarray(logits)}
