"""StyleFlow's `modellarge10k.pt`: a chain of moving batch norms (even) and flow blocks (odd)."""

import re
from functools import partial

import jax
import jax.numpy as jnp

from convert_weights.layout import DENSE, Layout, Origin, Path, Shapes
from diffcam_jax.errors import UserError
from diffcam_jax.nn.styleflow import StyleFlow

_NORM = {"mean": "running_mean", "var": "running_var", "weight": "weight", "bias": "bias"}
_LAYER = {"linear": "_layer", "gate": "_hyper_gate", "shift": "_hyper_bias"}
_KERNEL = r"chain\.(\d+)\.odefunc\.diffeq\.layers\.(\d+)\._layer\.weight"
IGNORED = {
    r"chain\.\d+\.step": "counts training steps",
    r"chain\.\d+\.odefunc\._num_evals": "counts evaluations",
}


def styleflow(shapes: Shapes) -> Layout:
    """The flow; blocks, widths and the length of a condition follow from the shapes.

    Raises:
        UserError: the shapes are not those of a flow.
    """
    found = [(match, shapes[key]) for key in shapes if (match := re.fullmatch(_KERNEL, key))]
    context = shapes.get("chain.1.odefunc.diffeq.layers.0._hyper_gate.weight", ())
    if not found or len(context) != 2:
        raise UserError("it has no conditional flow of concat-squash layers")
    numbers = sorted({int(match[1]) for match, _ in found})
    layers = sorted((int(m[2]), s) for m, s in found if int(m[1]) == numbers[0])
    widths = [shape[0] for _, shape in layers]
    module = StyleFlow(widths[-1], tuple(widths[:-1]), context[1] - 1, len(numbers))
    arguments = jnp.zeros((1, 1, module.features)), jnp.zeros((1, module.conditions))
    return Layout(
        module,
        partial(module.init, jax.random.key(0), *arguments),
        _leaf,
        IGNORED,
        summary=f"{module.blocks} block of {len(widths)} layers, {module.conditions} conditions",
    )


def _leaf(path: Path) -> Origin:
    _, name, *rest = path
    if name.startswith("sqrt_end_time"):
        return Origin(f"chain.{2 * int(name.rpartition('_')[2]) + 1}.sqrt_end_time")
    index = int(name.rpartition("_")[2])
    if name.startswith("norms"):
        return Origin(f"chain.{2 * index}.{_NORM[rest[0]]}")
    layer, part, leaf = rest
    number = int(layer.rpartition("_")[2])
    prefix = f"chain.{2 * index + 1}.odefunc.diffeq.layers.{number}.{_LAYER[part]}"
    return Origin(f"{prefix}.weight", DENSE) if leaf == "kernel" else Origin(f"{prefix}.bias")
