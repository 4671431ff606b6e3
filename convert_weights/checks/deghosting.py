"""The deghosting network: its output, everything on the way to it, and its prior run on its own."""

import re

import jax
import numpy as np

from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.deghosting import deghosting
from convert_weights.probes import run
from diffcam_jax.nn.deghosting import Deghoster


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The whole checkpoint is one network."""
    return [(deghosting(fixture.shapes()), fixture.shapes())]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the fixture, NCHW."""
    layout = deghosting(fixture.shapes())
    variables = layout.convert(fixture.state())
    module = layout.module
    names = [
        name.removeprefix("probe.")
        for name in fixture.manifest["outputs"]
        if name.startswith("probe.")
    ]
    probes = {name: _path(name, module) for name in names}
    image, values = run(module, variables, nhwc(fixture.inputs["lq"]), probes=probes)
    ours = {f"probe.{name}": value for name, value in values.items()} | {"output": image}

    @jax.jit
    def prior(variables, z, wplus):
        return (
            module.apply(variables, z, method=lambda deghoster, z: deghoster.generator.mapping(z)),
            module.apply(
                variables, wplus, method=lambda deghoster, w: deghoster.generator.synthesis(w)
            ),
        )

    ours["w_from_z"], ours["generator_image"] = prior(
        variables, fixture.inputs["z"], fixture.inputs["wplus"]
    )
    return {
        name: nchw(value) if value.ndim == 4 else np.asarray(value) for name, value in ours.items()
    }


def _path(key: str, module: Deghoster) -> str:
    """The layer whose output is that of an official one."""
    levels = module.in_size.bit_length() - 2
    named = {
        "encoder.0": "rrdb",
        f"encoder.{levels}": "to_styles",
        f"decoder.{len(module.widths) - levels}": "to_image",
    }
    named |= {f"encoder.{i}": f"down_{i - 1}" for i in range(1, levels)}
    for official, ours in named.items():
        if re.fullmatch(rf"FCN\.{re.escape(official)}(\..*)?", key):
            key = ours + key.removeprefix(f"FCN.{official}")
    key = key.replace("FCN.fusion_out", "fusion").replace("FCN.decoder", "up")
    return re.sub(r"\.(\d+)", r"_\1", key).replace(".", "/")
