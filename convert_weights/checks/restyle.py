"""ReStyle's encoders alone, and the loop with a generator."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights import probes
from convert_weights.checks.psp_gradual import module_paths, official, probe_names
from convert_weights.fixture import Fixture, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts import encoders
from convert_weights.layouts.stylegan2 import generator_rosinality
from diffcam_jax.inversion.encoding import restyle_loop, shrink

_LAYOUTS: dict[str, Callable[..., Layout]] = {
    "restyle_irse": encoders.restyle_irse,
    "restyle_resnet": encoders.restyle_resnet,
}


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """Every encoder that the manifest lists, and the loop's generator."""
    found = [_encoder(fixture, prefix) for prefix in _encoder_prefixes(fixture)]
    if shapes := fixture.shapes("loop.decoder."):
        found.append((generator_rosinality(shapes), shapes))
    return found


def _encoder_prefixes(fixture: Fixture) -> list[str]:
    prefixes = [f"{key.split('.')[0]}." for key in fixture.shapes()]
    return [
        f"{prefix}encoder." if prefix == "loop." else prefix for prefix in dict.fromkeys(prefixes)
    ]


def _encoder(fixture: Fixture, prefix: str) -> tuple[Layout, Shapes]:
    shapes = fixture.shapes(prefix)
    # The weights do not show whether the rows are deltas.
    module = fixture.manifest["modules"].get(f"{prefix.split('.')[0]}.", {})
    return _LAYOUTS[encoders.recognise(shapes)](
        shapes, "Progressive" in f"{module.get('cls')} {module.get('args')}"
    ), shapes


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Codes and maps of the single encoders, then codes and pictures of every step of the loop."""
    found = {}
    pair = jnp.concatenate([nhwc(fixture.inputs["x"]), nhwc(fixture.inputs["y"])], axis=-1)
    for prefix in _encoder_prefixes(fixture):
        if prefix.startswith("loop."):
            continue
        layout, shapes = _encoder(fixture, prefix)
        wanted = probe_names(fixture, prefix)
        paths = module_paths(wanted, shapes)
        if "body.0.conv1.weight" in shapes:
            paths = {name: "prelu" if name == "relu" else name.replace(".", "_") for name in wanted}
        codes, values = probes.run(
            layout.module, layout.convert(fixture.state(prefix)), pair, probes=paths
        )
        found[f"{prefix}codes"] = np.asarray(codes)
        found |= {f"probe.{prefix}{name}": official(value) for name, value in values.items()}
    return found | (_loop(fixture) if fixture.shapes("loop.") else {})


def _loop(fixture: Fixture) -> dict[str, np.ndarray]:
    encoder, _ = _encoder(fixture, "loop.encoder.")
    decoder = generator_rosinality(fixture.shapes("loop.decoder."))
    weights = decoder.convert(fixture.state("loop.decoder."))
    variables = encoder.convert(fixture.state("loop.encoder."))
    synthesis = jax.jit(functools.partial(decoder.module.apply, method="synthesis"))
    average = jnp.asarray(fixture.inputs["latent_avg"])
    rows = jnp.broadcast_to(average, (1, encoder.module.n_styles, average.shape[-1]))
    avg_image = shrink(synthesis(weights, rows))
    steps = sum(name.startswith("loop.latent.") for name in fixture.manifest["outputs"])
    codes, pictures = restyle_loop(
        encoder.module,
        variables,
        functools.partial(synthesis, weights),
        average,
        jnp.asarray(nhwc(fixture.inputs["x"])),
        avg_image,
        steps,
    )
    found = {"loop.avg_image": official(avg_image)}
    for step, (code, picture) in enumerate(zip(codes, pictures)):
        found[f"loop.latent.{step}"] = np.asarray(code)
        found[f"loop.image.{step}"] = official(picture)
    # Where the fixture has one picture it is stored without its batch axis.
    sizes = {name: len(entry["shape"]) for name, entry in fixture.manifest["outputs"].items()}
    return {
        name: value[0] if value.ndim > sizes.get(name, value.ndim) else value
        for name, value in found.items()
    }
