"""StyleFlow: a conditional continuous normalizing flow between W+ codes and a Gaussian.

Codes are W+ [b, n, k], whose rows flow one by one under the same condition [b, c]: nine numbers of
lighting, then gender, glasses, yaw, pitch, baldness, beard, age and expression in the official
checkpoint. An edit flows a code forward under its own condition and back under another one.

A chain of moving batch norms and flow blocks; the inverse runs it backwards.

Source: Abdal et al., StyleFlow: Attribute-conditioned Exploration of StyleGAN-Generated Images
using Conditional Continuous Normalizing Flows (2008.02401), section 4; the solver's settings are
those of the release, dopri5 with tolerances of 1e-5.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.nn.network import Network

TOLERANCE, MOST_STEPS = 1e-5, 256
_VARIANCE = 1e-4  # added to the variance
_DECAY = 0.1  # of the running averages, a step

Codes = Float[Array | np.ndarray, "b n k"]
Condition = Float[Array | np.ndarray, "b c"]
Field = Callable[[Float[Array, "b n k"]], Float[Array, "b n k"]]
# (field, codes) -> (derivative, divergence of the field for every code)
Trace = Callable[[Field, Array], tuple[Float[Array, "b n k"], Float[Array, "b n 1"]]]


class ConcatSquash(nn.Module):
    """A linear layer whose output is scaled and shifted by the context.

    Attributes:
        features: of the output.
    """

    features: int

    @nn.compact
    def __call__(self, x: Codes, context: Condition) -> Float[Array, "b n f"]:
        """linear(x) * sigmoid(gate(context)) + shift(context)."""
        gate = jax.nn.sigmoid(nn.Dense(self.features, name="gate")(context))
        shift = nn.Dense(self.features, use_bias=False, name="shift")(context)
        return nn.Dense(self.features, name="linear")(x) * gate[:, None] + shift[:, None]


class VectorField(nn.Module):
    """dw/dt of a flow block; the context is the time followed by the condition.

    Attributes:
        widths: of the hidden layers.
    """

    widths: tuple[int, ...]

    @nn.compact
    def __call__(
        self, time: float | Float[Array, ""], x: Codes, c: Condition
    ) -> Float[Array, "b n k"]:
        """The derivative of codes x at a time, under the condition c."""
        context = jnp.concatenate([jnp.full((len(c), 1), time, jnp.float32), c], axis=1)
        features = x.shape[-1]
        for width in self.widths:
            x = jnp.tanh(ConcatSquash(width)(x, context))
        return ConcatSquash(features)(x, context)


class MovingBatchNorm(nn.Module):
    """Batch normalization that can be inverted, by statistics of the data so far.

    Attributes:
        features: size of a code.
    """

    features: int

    def setup(self) -> None:
        """Makes the parameters."""
        zeros, shape = nn.initializers.zeros, (self.features,)
        self.weight, self.bias = (self.param(name, zeros, shape) for name in ("weight", "bias"))
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        self.var = self.variable("batch_stats", "var", jnp.ones, shape)

    def __call__(
        self, x: Codes, train: bool = False
    ) -> tuple[Float[Array, "b n k"], Float[Array, ""]]:
        """Normalised codes, and the logarithm of the Jacobian's determinant.

        Args:
            x: codes.
            train: use the statistics of x, and let the running ones follow.
        """
        mean, var = self.mean.value, self.var.value
        if train:
            mean, var = x.mean((0, 1)), x.var((0, 1))
            if not self.is_initializing():
                self.mean.value += _DECAY * (mean - self.mean.value)
                self.var.value += _DECAY * (var - self.var.value)
        scale = self.weight - 0.5 * jnp.log(var + _VARIANCE)
        return (x - mean) * jnp.exp(scale) + self.bias, scale.sum()

    def inverse(self, y: Codes) -> tuple[Float[Array, "b n k"], Float[Array, ""]]:
        """Codes whose normalised ones are y, and the same determinant's logarithm."""
        scale = self.weight - 0.5 * jnp.log(self.var.value + _VARIANCE)
        return (y - self.bias) * jnp.exp(-scale) + self.mean.value, scale.sum()


class StyleFlow(nn.Module):
    """The networks of the chain; `flow` and `inverse` run it.

    Attributes:
        features: size of a code.
        widths: of the hidden layers of a block.
        conditions: numbers of a condition.
        blocks: flow blocks; there is one batch norm more.
    """

    features: int = 512
    widths: tuple[int, ...] = (512, 512, 512, 512, 512)
    conditions: int = 17
    blocks: int = 1

    def setup(self) -> None:
        """Makes the networks."""
        self.norms = [MovingBatchNorm(self.features) for _ in range(self.blocks + 1)]
        self.fields = [VectorField(self.widths) for _ in range(self.blocks)]
        self.sqrt_end_times = [
            self.param(f"sqrt_end_time_{i}", nn.initializers.ones, ()) for i in range(self.blocks)
        ]

    def __call__(self, x: Codes, c: Condition) -> Float[Array, "b n k"]:
        """Every network once, which makes all variables; not the flow."""
        for index in range(self.blocks):
            x = self.derivative(index, 0.0, self.norm(index, x)[0], c)
        return self.norm(self.blocks, x)[0]

    def norm(self, index: int, x: Codes, train: bool = False) -> Any:
        """The batch norm before block `index`, or after the last one."""
        return self.norms[index](x, train)

    def norm_inverse(self, index: int, y: Codes) -> Any:
        """Its inverse."""
        return self.norms[index].inverse(y)

    def derivative(
        self,
        index: int,
        time: float | Float[Array, ""],
        x: Codes,
        c: Condition,
    ) -> Float[Array, "b n k"]:
        """dw/dt of block `index`."""
        return self.fields[index](time, x, c)

    def end_time(self, index: int) -> Float[Array, ""]:
        """The time at which block `index` ends; it begins at 0."""
        return self.sqrt_end_times[index] ** 2


def flow(
    network: Network,
    codes: Codes,
    condition: Condition,
    trace: Trace | None = None,
) -> tuple[Float[Array, "b n k"], Float[Array, "b n 1"]]:
    """Codes of the Gaussian for W+ codes under a condition.

    Args:
        network: a `StyleFlow`.
        codes: W+.
        condition: of the codes.
        trace: `hutchinson` or `exact_trace` for the change of the density; None leaves out what the
            blocks do to it.

    Returns:
        z, and the change of the log density along the way: log p(codes) is that of z under the
        Gaussian less this change.
    """
    return _flow(network, codes, condition, trace, train=False)[:2]


def training_flow(
    network: Network, codes: Codes, condition: Condition, trace: Trace
) -> tuple[Float[Array, "b n k"], Float[Array, "b n 1"], dict[str, Any]]:
    """`flow` with the batch norms in training.

    Returns:
        z, the change of the log density, and the batch norms' statistics after this batch.
    """
    z, change, after = _flow(network, codes, condition, trace, train=True)
    return z, change, after.variables["batch_stats"]


def log_likelihood(z: Float[Array, "b n k"], change: Float[Array, "b n 1"]) -> Float[Array, "b n"]:
    """The log density of codes, in nats, from what `flow` returns for them."""
    gaussian = -0.5 * (z**2 + jnp.log(2 * jnp.pi)).sum(-1)
    return gaussian - change[..., 0]


def _flow(
    network: Network, codes: Codes, condition: Condition, trace: Trace | None, train: bool
) -> tuple[Array, Array, Network]:
    change = jnp.zeros((*codes.shape[:2], 1))
    for index in range(network.module.blocks + 1):
        codes, scale, network = _normalised(network, index, codes, train)
        change = change - scale
        if index < network.module.blocks:
            end = network(index, method="end_time")
            codes, added = _solve(network, index, codes, condition, 0.0, end, trace)
            change = change + added
    return codes, change, network


def _normalised(
    network: Network, index: int, codes: Codes, train: bool
) -> tuple[Array, Array, Network]:
    """Codes after a batch norm, the Jacobian's term, and the network with what it has learned."""
    if not train:
        return *network(index, codes, method="norm"), network
    module, variables = network
    (codes, scale), changed = module.apply(
        variables, index, codes, train, method="norm", mutable=["batch_stats"]
    )
    return codes, scale, Network(module, {**variables, **changed})


def inverse(network: Network, z: Codes, condition: Condition) -> Float[Array, "b n k"]:
    """The W+ codes that `flow` takes to z under a condition."""
    codes, _ = network(network.module.blocks, z, method="norm_inverse")
    for index in reversed(range(network.module.blocks)):
        end = network(index, method="end_time")
        codes, _ = _solve(network, index, codes, condition, end, 0.0, None)
        codes, _ = network(index, codes, method="norm_inverse")
    return codes


def hutchinson(noise: Codes) -> Trace:
    """The divergence by Hutchinson's estimate e^T J e, for noise e of mean 0 and variance 1."""

    def trace(field: Field, x: Array) -> tuple[Array, Array]:
        value, pull = jax.vjp(field, x)
        return value, jnp.sum(pull(noise)[0] * noise, axis=-1, keepdims=True)

    return trace


def exact_trace(field: Field, x: Codes) -> tuple[Array, Array]:
    """The divergence itself, by one product with the Jacobian for each number of a code."""
    value, push = jax.linearize(field, x)

    def diagonal(axis: Array) -> Array:
        along = jnp.zeros_like(x).at[..., axis].set(1)
        return jnp.take(push(along), axis, axis=-1)

    return value, jax.lax.map(diagonal, jnp.arange(x.shape[-1])).sum(0)[..., None]


def _solve(network, index, x, condition, start, end, trace) -> tuple[Array, Array]:
    """The codes at the end, and the integral of minus the divergence; NaN without a solution."""
    import diffrax  # here: programs that use no flow start without it

    def derivative(time, state, _):
        codes, _ = state
        field = partial(_field, network, index, time, condition)
        if trace is None:
            return field(codes), jnp.zeros((*codes.shape[:2], 1))
        value, divergence = trace(field, codes)
        return value, -divergence

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        diffrax.Dopri5(),
        start,
        end,
        None,
        (x, jnp.zeros((*x.shape[:2], 1))),
        stepsize_controller=diffrax.PIDController(TOLERANCE, TOLERANCE),
        max_steps=MOST_STEPS,
        throw=False,  # what checks it on the host cannot be kept in a compiled program
    )
    solved = solution.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda leaf: jnp.where(solved, leaf[-1], jnp.nan), solution.ys)


def _field(network, index, time, condition, codes) -> Array:
    return network(index, time, codes, condition, method="derivative")
