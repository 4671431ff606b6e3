"""Encoder4Editing at several stages of its progressive training."""

import re

import numpy as np

from convert_weights import probes
from convert_weights.checks.psp_gradual import module_paths, official, probe_names
from convert_weights.fixture import Fixture, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts import encoders


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The encoder."""
    shapes = fixture.shapes()
    return [(encoders.encoder4editing(shapes), shapes)]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Codes of every stage, and intermediate maps."""
    [(layout, shapes)] = layouts(fixture)
    variables = layout.convert(fixture.state())
    images, wanted = nhwc(fixture.inputs["x"]), probe_names(fixture)
    found = {}
    for name in fixture.manifest["outputs"]:
        if name.startswith("codes."):
            match = re.search(r"value (\d+)", fixture.description(name))
            stage = int(match[1]) if match else None
            found[name], _ = probes.run(layout.module, variables, images, stage=stage)
    _, values = probes.run(layout.module, variables, images, probes=module_paths(wanted, shapes))
    return found | {f"probe.{name}": official(value) for name, value in values.items()}
