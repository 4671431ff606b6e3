"""LPIPS of three nets: distances, what every tap adds, the taps themselves."""

import functools
import re

import jax
import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.lpips import lpips
from diffcam_jax.nn.lpips import TRUNKS


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """One for each net of the fixture."""
    return [(lpips(shapes), shapes) for shapes in map(fixture.shapes, fixture.manifest["modules"])]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the manifest."""
    a, b, a_odd, b_odd = (nhwc(fixture.inputs[name]) for name in ("a", "b", "a_odd", "b_odd"))
    results = {}
    for prefix in fixture.manifest["modules"]:
        layout = lpips(fixture.shapes(prefix))
        variables = layout.convert(fixture.state(prefix))
        distance = functools.partial(jax.jit(layout.module.apply), variables)
        shares, found = probes.run(
            layout.module, variables, a, b, probes={"trunk": "trunk"}, method="shares"
        )
        mixed = _mixture(fixture.description(f"{prefix}distance_mixed"))
        results |= {
            f"{prefix}per_layer": shares,
            f"{prefix}distance": distance(a, b),
            f"{prefix}distance_01": distance(*(2 * ((image + 1) / 2) - 1 for image in (a, b))),
            f"{prefix}distance_mixed": distance(a, mixed[0] * a + mixed[1] * b),
            f"{prefix}distance_odd": distance(a_odd, b_odd),
        }
        taps = enumerate(TRUNKS[layout.module.net]().taps)  # a compiled function sorts its dicts
        results |= {f"probe.{prefix}feat{index}": nchw(found["trunk"][tap]) for index, tap in taps}
    return {name: np.asarray(value) for name, value in results.items()}


def _mixture(text: str) -> tuple[np.float32, np.float32]:
    found = re.search(r"([\d.]+)\s*\*\s*a\s*\+\s*([\d.]+)\s*\*\s*b", text)
    return (
        (np.float32(found[1]), np.float32(found[2]))
        if found
        else (np.float32(0.65), np.float32(0.35))
    )
