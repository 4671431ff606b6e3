"""StyleFlow: the derivative of its block, a batch norm, and the flow there and back."""

import re

import jax
import numpy as np

from convert_weights.fixture import Fixture
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.styleflow import styleflow
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import flow, hutchinson, inverse


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The flow."""
    shapes = fixture.shapes()
    return [(styleflow(shapes), shapes)]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the manifest; conditions are [b, c, 1, 1] there."""
    [(layout, _)] = layouts(fixture)
    network = Network(layout.module, layout.convert(fixture.state()))
    codes, noise = fixture.inputs["w"], fixture.inputs["e"]
    source, target = (fixture.inputs[name][..., 0, 0] for name in ("source", "target"))
    time = re.search(r"context=\[([\d.]+)", fixture.description("derivative"))
    z, change = jax.jit(lambda n, *given: flow(n, *given, hutchinson(noise)))(
        network, codes, source
    )
    back = jax.jit(inverse)
    return {
        "derivative": network(0, float(time[1]), codes, source, method="derivative"),
        "normalised": network(0, codes, method="norm")[0],
        "z": z,
        "log_density_change": change,
        "w_target": back(network, z, target),
        "w_back": back(network, z, source),
    }
