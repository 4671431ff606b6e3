"""The StyleGAN2 discriminator in rosinality's names, and the adversarial losses.

Their second-order gradients are compared as well.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights import probes
from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from convert_weights.layouts.stylegan2 import discriminator_rosinality, generator_rosinality
from diffcam_jax.losses.adversarial import (
    logistic_loss,
    nonsaturating_loss,
    path_length_penalty,
    r1_penalty,
)
from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.stylegan2_discriminator import minibatch_stddev


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """The discriminator alone, or with the generator beside it."""
    if not fixture.manifest["modules"].keys() & {"d.", "g."}:
        return [(discriminator_rosinality(fixture.shapes()), fixture.shapes())]
    d, g = fixture.shapes("d."), fixture.shapes("g.")
    return [(discriminator_rosinality(d), d), (generator_rosinality(g), g)]


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """All outputs of the fixture, NCHW."""
    return _discriminator(fixture) | _generator(fixture)


def _discriminator(fixture: Fixture) -> dict[str, Any]:
    layout = discriminator_rosinality(fixture.shapes("d."))
    module, variables = layout.module, layout.convert(fixture.state("d."))
    images, small = (
        nhwc(fixture.inputs["img"]),
        fixture.manifest["outputs"]["logits_small"]["shape"][0],
    )
    names = fixture.manifest["outputs"]
    wanted = {name: name[6:].replace(".", "_") for name in names if name.startswith("probe.")}
    last = f"convs_{len(module.widths) - 1}"
    large, values = probes.run(module, variables, images, probes=wanted | {"last": last})
    result = {name: nchw(values[name]) for name in wanted}
    result["mbstd_large"] = jax.jit(minibatch_stddev)(values["last"])

    def judge(variables: Any, images: Any) -> Any:
        return module.apply(variables, images)

    def r1(variables: Any, images: Any) -> Any:
        return r1_penalty(lambda x: judge(variables, x), images).mean()

    weight = float(_number(fixture, "r1_param_grad_norm", r"([\d.]+) \* r1", "5"))
    penalty, gradients = jax.jit(jax.value_and_grad(r1))(variables, images[:small])
    gradients = layout.export(jax.tree.map(lambda g: weight * g, gradients))
    result |= {
        "logits_large": large,
        "logits_small": jax.jit(judge)(variables, images[:small]),
        "r1_penalty": penalty,
        "r1_param_grad_norm": _norm(gradients.values()),
    }
    pulled = jax.jit(jax.grad(lambda x, variables: judge(variables, x).sum()))(
        images[:small], variables
    )
    result |= _gradients(names, r"r1_input_grad(?:_x(\d+))?", lambda _: nchw(pulled))
    result |= _gradients(names, r"r1_grad(?:_x(\d+))?\.(.+)", gradients.__getitem__)

    reals = int(_number(fixture, "d_logistic_loss", r"first (\d+)", str(small)))
    fakes = int(_number(fixture, "d_logistic_loss", r"last (\d+)", str(small)))

    def logistic(variables: Any, real: Any, fake: Any) -> Any:
        return logistic_loss(judge(variables, real), judge(variables, fake)).mean()

    loss, gradients = jax.jit(jax.value_and_grad(logistic))(
        variables, images[:reals], images[-fakes:]
    )
    return result | {
        "d_logistic_loss": loss,
        "d_logistic_param_grad_norm": _norm(jax.tree.leaves(gradients)),
    }


def _generator(fixture: Fixture) -> dict[str, Any]:
    layout, judge = (
        generator_rosinality(fixture.shapes("g.")),
        discriminator_rosinality(fixture.shapes("d.")),
    )
    module, variables = layout.module, layout.convert(fixture.state("g."))
    critic = judge.convert(fixture.state("d."))
    names, z = fixture.manifest["outputs"], jnp.asarray(fixture.inputs["pl_z"])
    noise = jnp.asarray(nhwc(fixture.inputs["pl_noise"]))
    decay = float(_number(fixture, "pl_penalty", r"decay ([\d.]+)", "0.01"))

    def draw(params: Any, noise_maps: Any, codes: Any) -> Any:
        return module.apply({"params": params, "noise": noise_maps}, codes, method="synthesis")

    def codes_of(params: Any) -> Any:
        return to_wplus(module.apply({"params": params}, z, method="mapping"), module.num_styles)

    def path_length(params: Any, noise_maps: Any) -> Any:
        found = path_length_penalty(
            lambda codes: draw(params, noise_maps, codes), codes_of(params), noise, 0.0, decay
        )
        return found.penalty.mean(), found

    def adversarial(params: Any, noise_maps: Any, critic: Any) -> Any:
        return nonsaturating_loss(
            judge.module.apply(critic, draw(params, noise_maps, codes_of(params)))
        ).mean()

    both = variables["params"], variables["noise"]
    (penalty, found), gradients = jax.jit(jax.value_and_grad(path_length, has_aux=True))(*both)
    result = {
        "pl_penalty": penalty,
        "pl_lengths": found.lengths,
        "pl_mean": found.mean,
        "pl_param_grad_norm": _norm(jax.tree.leaves(gradients)),
    }
    official = layout.export({"params": gradients, "noise": variables["noise"]})
    result |= _gradients(names, r"pl_grad(?:_x(\d+))?\.(.+)", official.__getitem__)
    loss, gradients = jax.jit(jax.value_and_grad(adversarial))(*both, critic)
    return result | {
        "g_nonsaturating_loss": loss,
        "g_nonsaturating_param_grad_norm": _norm(jax.tree.leaves(gradients)),
    }


def _gradients(
    names: Mapping[str, Any], pattern: str, find: Callable[[str], np.ndarray]
) -> dict[str, Any]:
    """Outputs "what_x100.KEY", an array times a factor, or "what.KEY.norm", its norm."""
    result = {}
    for name in names:
        if match := re.fullmatch(pattern, name):
            factor, key = int(match[1] or 1), match[2] if match.re.groups > 1 else ""
            array = find(key.removesuffix(".norm"))
            result[name] = _norm([array]) if key.endswith(".norm") else factor * array
    return result


def _norm(arrays: Any) -> float:
    return float(np.sqrt(sum(np.square(np.asarray(a, np.float64)).sum() for a in arrays)))


def _number(fixture: Fixture, output: str, pattern: str, usual: str) -> str:
    match = re.search(pattern, fixture.description(output))
    return match[1] if match else usual
