"""Check of pSp's three encoders."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts import encoders
from diffcam_jax.nn.psp import upsample_add
from diffcam_jax.ops.image import resize

_PREFIXES = {
    "gradual.": encoders.gradual,
    "into_w.": encoders.into_w,
    "into_wplus.": encoders.into_wplus,
}
# Values that none of our modules returns; they are computed from neighbouring ones.
_PYRAMID = ("body.23", "latlayer1", "latlayer2")


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """Every encoder that the manifest lists."""
    found = [(layout, fixture.shapes(prefix)) for prefix, layout in _PREFIXES.items()]
    return [(layout(shapes), shapes) for layout, shapes in found if shapes]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Codes and intermediate maps, one encoder after the other."""
    images, found = nhwc(fixture.inputs["x"]), {}
    for prefix, layout_of in _PREFIXES.items():
        shapes = fixture.shapes(prefix)
        if not shapes:
            continue
        layout = layout_of(shapes)
        wanted = probe_names(fixture, prefix)
        names = [name for name in wanted if not re.fullmatch(r"p\d|pool\d+", name)]
        names += _PYRAMID if prefix == "gradual." else ()
        paths = module_paths(names, shapes) | (
            {"output_bn": "output_bn"} if prefix == "into_wplus." else {}
        )
        codes, values = probes.run(
            layout.module, layout.convert(fixture.state(prefix)), images, probes=paths
        )
        found[f"{prefix}codes"] = np.asarray(codes)
        found |= {f"probe.{prefix}{name}": official(_value(name, values)) for name in wanted}
    return found


def _value(name: str, values: Mapping[str, Any]) -> Any:
    if name == "p2":
        return upsample_add(values["body.23"], values["latlayer1"])
    if name == "p1":
        return upsample_add(_value("p2", values), values["latlayer2"])
    if match := re.fullmatch(r"pool(\d+)", name):
        side = int(match[1])
        return resize(values["output_bn"], (side, side), "area")
    return values[name]


def probe_names(fixture: Fixture, prefix: str = "") -> list[str]:
    """The official modules whose output a fixture stores, under a prefix, which is removed."""
    start = f"probe.{prefix}"
    return [
        name.removeprefix(start) for name in fixture.manifest["outputs"] if name.startswith(start)
    ]


def module_paths(names: list[str], shapes: Shapes) -> dict[str, str]:
    """Official module -> path of our module with the same output: "body.6" -> "body/unit_6"."""
    paths = {}
    for name in names:
        if name == "input_layer":
            paths[name] = "body/input_prelu"
        elif match := re.fullmatch(r"body\.(\d+)", name):
            paths[name] = f"body/unit_{match[1]}"
        elif match := re.fullmatch(r"styles\.(\d+)\.convs", name):
            convs = [key for key in shapes if re.fullmatch(rf"{re.escape(name)}\.\d+\.weight", key)]
            paths[name] = f"styles_{match[1]}/convs_{len(convs) - 1}"
        else:
            paths[name] = name.replace(".", "_")
    return paths


def official(value: Any) -> np.ndarray:
    """Maps to NCHW; codes as they are."""
    return nchw(value) if value.ndim == 4 else np.asarray(value)
