"""In-domain inversion: generator, encoder, perceptual network, and one inversion gradient.

The generator is compared with plain and with fused upsampling.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts import idinvert
from diffcam_jax.inversion.encoding import Encoder
from diffcam_jax.inversion.fit import FitProblem, Frozen, Weights
from diffcam_jax.inversion.judges import Vgg
from diffcam_jax.losses import networks as perceptual
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import truncate

LAYOUTS = {
    "generator.": idinvert.generator,
    "encoder.": idinvert.encoder,
    "perceptual.": idinvert.perceptual,
    "generator_fused.": idinvert.generator,
}


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """Every network's layout with the shapes it must fit.

    A file of one network has keys without prefix.
    """
    for name in ("generator", "encoder"):
        if fixture.kind == f"idinvert_256_{name}":
            return [(LAYOUTS[f"{name}."](fixture.shapes()), fixture.shapes())]
    return [
        (make(fixture.shapes(prefix)), fixture.shapes(prefix)) for prefix, make in LAYOUTS.items()
    ]


def outputs(fixture: Fixture) -> dict[str, Any]:
    """Every output, in the official layout."""
    made: dict[str, Any] = {}
    x, codes = jnp.asarray(nhwc(fixture.inputs["x"])), jnp.asarray(fixture.inputs["wp"])

    generator = _network(fixture, "generator.")
    w, _ = probes.run(*generator, jnp.asarray(fixture.inputs["z"]), method="mapping")
    made["w"] = np.asarray(w).reshape(len(w), -1)
    state = fixture.state("generator.truncation.")
    psis = state["truncation"].reshape(-1)
    made["wp_truncated"] = truncate(
        w, jnp.asarray(state["w_avg"]), float(psis[0]), int((psis != 1).sum())
    )
    layers = _wanted(fixture, r"probe\.synthesis\.layer(\d+)", "layer_{}")
    image, found = probes.run(*generator, codes, probes=layers, method="synthesis")
    made["image"] = nchw(image)
    made |= {name: nchw(value) if value.ndim == 4 else value for name, value in found.items()}

    fused = _network(fixture, "generator_fused.")
    made["image_fused"] = nchw(probes.run(*fused, codes, method="synthesis")[0])
    del fused

    encoder = _network(fixture, "encoder.")
    blocks = _wanted(fixture, r"probe\.encoder\.block(\d+)", "block_{}")
    made["codes"], found = probes.run(*encoder, x, probes=blocks)
    made |= {name: nchw(value) if value.ndim == 4 else value for name, value in found.items()}

    vgg = _network(fixture, "perceptual.").variables
    features = perceptual.Features(perceptual.IN_DOMAIN_TAPS, caffe=True)
    rows, width = codes.shape[1:]
    problem = FitProblem(generator.module.resolution, rows, (Vgg(features),), agrees=True)
    frozen = Frozen(generator, (vgg,), Encoder(encoder, jnp.zeros(width), rows=rows))
    (made_features,) = jax.jit(features)(vgg, x)
    made["features"] = nchw(made_features)
    target = jax.jit(problem.target)(frozen, x[:1])

    @jax.jit
    def loss(code: jax.Array, weights: Weights, frozen: Frozen, target: Any) -> jax.Array:
        return problem.loss(frozen, target, weights, (code,))[0]

    pixel, feature, code = _weights(fixture)
    start, full = made["codes"][:1], Weights(pixel, (feature,), code)
    terms = {
        "loss_pix": Weights(1.0, (0.0,), 0.0),
        "loss_feat": Weights(0.0, (1.0,), 0.0),
        "loss_reg": Weights(0.0, (0.0,), 1.0),
        "loss": full,
    }
    made |= {
        f"invert.{name}": loss(start, weights, frozen, target) for name, weights in terms.items()
    }
    made["invert.grad_x1000"] = 1000 * jax.grad(loss)(start, full, frozen, target)
    return made


def _network(fixture: Fixture, prefix: str) -> Network:
    layout = LAYOUTS[prefix](fixture.shapes(prefix))
    return Network(layout.module, jax.device_put(layout.convert(fixture.state(prefix))))


def _wanted(fixture: Fixture, pattern: str, module: str) -> dict[str, str]:
    """The manifest's intermediate values of a pattern -> the path of our module."""
    names = fixture.manifest["outputs"]
    return {
        name: module.format(match[1]) for name in names if (match := re.fullmatch(pattern, name))
    }


def _weights(fixture: Fixture) -> tuple[float, float, float]:
    """The factors of pixels, features and code in the loss."""
    match = re.search(
        r"([\d.e+-]+)\*pix \+ ([\d.e+-]+)\*feat \+ ([\d.e+-]+)\*reg",
        fixture.description("invert.loss"),
    )
    pixel, feature, code = match.groups() if match else ("1", "5e-5", "2")
    return float(pixel), float(feature), float(code)
