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
_FEATURES = perceptual.Features(perceptual.IN_DOMAIN_TAPS, caffe=True)


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """Every network's layout with the shapes it must fit.

    A file of one network has keys without prefix.
    """
    for name in ("generator", "encoder"):
        if fixture.kind == f"idinvert_256_{name}":
            return [(LAYOUTS[f"{name}."](fixture.shapes()), fixture.shapes())]
    present = {prefix: fixture.shapes(prefix) for prefix in LAYOUTS}
    return [(LAYOUTS[prefix](shapes), shapes) for prefix, shapes in present.items() if shapes]


def outputs(fixture: Fixture) -> dict[str, Any]:
    """Every output of the networks that the fixture holds, in the official layout.

    Where the generator has fused layers of its own (below 256 pixels there may be no choice), there
    is no second one beside it.
    """
    generator, encoder, judge, fused = (
        bool(fixture.shapes(f"{name}."))
        for name in ("generator", "encoder", "perceptual", "generator_fused")
    )
    made = _drawn(fixture) if generator else {}
    if fused:
        found = probes.run(
            *_network(fixture, "generator_fused."), _codes(fixture), method="synthesis"
        )
        made["image_fused"] = nchw(found[0])
    if encoder:
        made |= _encoded(fixture)
    if judge:
        features = jax.jit(_FEATURES)(
            _network(fixture, "perceptual.").variables, _pictures(fixture)
        )
        made["features"] = nchw(features[0])
    if generator and encoder and judge:
        made |= _inverted(fixture, made["codes"][:1])
    return made


def _codes(fixture: Fixture) -> jax.Array:
    return jnp.asarray(fixture.inputs["wp"])


def _pictures(fixture: Fixture) -> jax.Array:
    return jnp.asarray(nhwc(fixture.inputs["x"]))


def _drawn(fixture: Fixture) -> dict[str, Any]:
    """Codes of the mapping, the truncated ones, and the picture with every layer."""
    generator = _network(fixture, "generator.")
    made: dict[str, Any] = {}
    if "z" in fixture.inputs:
        w, _ = probes.run(*generator, jnp.asarray(fixture.inputs["z"]), method="mapping")
        made["w"] = np.asarray(w).reshape(len(w), -1)
        state = fixture.state("generator.truncation.")
        if state:
            psis = state["truncation"].reshape(-1)
            average = jnp.asarray(state["w_avg"])
            made["wp_truncated"] = truncate(w, average, float(psis[0]), int((psis != 1).sum()))
    layers = _wanted(fixture, r"probe\.synthesis\.layer(\d+)", "layer_{}")
    image, found = probes.run(*generator, _codes(fixture), probes=layers, method="synthesis")
    made["image"] = nchw(image)
    return made | {name: _official(value) for name, value in found.items()}


def _encoded(fixture: Fixture) -> dict[str, Any]:
    """Codes of pictures, and every block."""
    blocks = _wanted(fixture, r"probe\.encoder\.block(\d+)", "block_{}")
    codes, found = probes.run(*_network(fixture, "encoder."), _pictures(fixture), probes=blocks)
    return {"codes": codes} | {name: _official(value) for name, value in found.items()}


def _inverted(fixture: Fixture, start: jax.Array) -> dict[str, Any]:
    """The loss of an inversion with its terms and its gradient, at the encoder's code."""
    generator, encoder = (_network(fixture, prefix) for prefix in ("generator.", "encoder."))
    vgg = _network(fixture, "perceptual.").variables
    rows, width = start.shape[1:]
    problem = FitProblem(generator.module.resolution, rows, (Vgg(_FEATURES),), agrees=True)
    frozen = Frozen(generator, (vgg,), Encoder(encoder, jnp.zeros(width), rows=rows))
    target = jax.jit(problem.target)(frozen, _pictures(fixture)[:1])

    @jax.jit
    def loss(code: jax.Array, weights: Weights, frozen: Frozen, target: Any) -> jax.Array:
        return problem.loss(frozen, target, weights, (code,))[0]

    pixel, feature, code = _weights(fixture)
    full = Weights(pixel, (feature,), code)
    terms = {
        "loss_pix": Weights(1.0, (0.0,), 0.0),
        "loss_feat": Weights(0.0, (1.0,), 0.0),
        "loss_reg": Weights(0.0, (0.0,), 1.0),
        "loss": full,
    }
    made = {
        f"invert.{name}": loss(start, weights, frozen, target) for name, weights in terms.items()
    }
    made["invert.grad_x1000"] = 1000 * jax.grad(loss)(start, full, frozen, target)
    return made


def _official(value: Any) -> Any:
    return nchw(value) if value.ndim == 4 else value


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
    if "invert.loss" not in fixture.manifest["outputs"]:
        return 1.0, 5e-5, 2.0
    match = re.search(
        r"([\d.e+-]+)\*pix \+ ([\d.e+-]+)\*feat \+ ([\d.e+-]+)\*reg",
        fixture.description("invert.loss"),
    )
    pixel, feature, code = match.groups() if match else ("1", "5e-5", "2")
    return float(pixel), float(feature), float(code)
