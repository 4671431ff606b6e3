"""ArcFace's recogniser, the crop of the identity loss and the loss."""

import jax
import numpy as np

from convert_weights import probes
from convert_weights.checks.psp_gradual import module_paths, official, probe_names
from convert_weights.fixture import Fixture, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts import encoders
from diffcam_jax.losses.picture import identity_distance
from diffcam_jax.nn.irse import identity_crop


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The recogniser."""
    shapes = fixture.shapes()
    return [(encoders.arcface(shapes), shapes)]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Embeddings of crops and of whole pictures, intermediate maps, and the loss."""
    [(layout, shapes)] = layouts(fixture)
    variables = layout.convert(fixture.state())
    paths = module_paths([name for name in probe_names(fixture) if name != "crop_pool"], shapes)
    paths |= {name: "embedding_bn" for name in paths if name == "output_layer"}
    embedding, values = probes.run(
        layout.module, variables, nhwc(fixture.inputs["x112"]), probes=paths
    )
    found = {"embedding": np.asarray(embedding)} | {
        f"probe.{name}": official(value) for name, value in values.items()
    }
    if not {"y", "y_hat"} <= fixture.inputs.keys():
        return found

    crop = jax.jit(identity_crop)
    crops = {name: crop(nhwc(fixture.inputs[name])) for name in ("y", "y_hat")}
    found["probe.crop_pool"] = official(crops["y"])
    apply = jax.jit(layout.module.apply)
    embeddings = {name: apply(variables, picture) for name, picture in crops.items()}
    found |= {f"{name}_embedding": np.asarray(value) for name, value in embeddings.items()}
    found["id_loss"] = np.asarray(identity_distance(embeddings["y_hat"], embeddings["y"]).mean())
    return found
