"""FID's Inception-V3: resize, pooled features, taps of the shorter variants, and every block."""

import jax
import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.inception import inception
from diffcam_jax.nn.inception import fid_resize


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The one network."""
    shapes = fixture.shapes()
    return [(inception(shapes), shapes)]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the manifest; inputs are in [0, 1]."""
    ((layout, _),) = layouts(fixture)
    variables = layout.convert(fixture.state())
    resized = {
        name: jax.jit(fid_resize)(2 * nhwc(array) - 1) for name, array in fixture.inputs.items()
    }
    names = [name for name in fixture.manifest["outputs"] if name.startswith("probe.")]
    blocks = {name: name.removeprefix("probe.").lower() for name in names}
    (features, taps), found = probes.run(layout.module, variables, resized["x"], probes=blocks)
    results = {"resized": nchw(resized["x"]), "features": np.asarray(features)}
    for name, value in {**taps, **found}.items():
        results[name] = nchw(value) if value.ndim == 4 else np.asarray(value)
    if "x_large" in resized:
        (features, _), _ = probes.run(layout.module, variables, resized["x_large"])
        results["features_large"] = np.asarray(features)
    return results
