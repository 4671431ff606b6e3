"""Ranger, the optimiser of StyleGAN encoders: rectified Adam, Lookahead, centralised gradients.

`optax.lookahead` wants two sets of parameters in the training loop. Here the slow weights are in
the optimiser's state, so that a network has one set, as with any other optimiser.

Sources: Liu et al., On the Variance of the Adaptive Learning Rate (1908.03265); Zhang et al.,
Lookahead Optimizer (1907.08610); Yong et al., Gradient Centralization (2004.01461).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError


class LookaheadState(NamedTuple):
    """State of `lookahead`; its fields are in checkpoints.

    Attributes:
        count: updates so far, int32.
        slow: the slow weights.
        fast: state of the optimiser of the fast weights.
    """

    count: Any
    slow: Any
    fast: Any


def lookahead(
    fast: optax.GradientTransformation, period: int = 6, share: float = 0.5
) -> optax.GradientTransformation:
    """Moves slow weights towards the fast ones at times, and sets the fast ones back to them.

    Args:
        fast: optimiser of the fast weights, which are the network's parameters.
        period: updates between two synchronisations.
        share: of the distance that the slow weights move; 1 changes nothing.

    Returns:
        A transformation whose `update` needs the parameters.

    Reference:
        Zhang et al., Lookahead Optimizer: k steps forward, 1 step back (1907.08610), algorithm 1.
    """

    def init(params: Any) -> LookaheadState:
        # A copy: the parameters are donated to the next step, and so is this state.
        return LookaheadState(jnp.int32(0), jax.tree.map(jnp.copy, params), fast.init(params))

    def update(
        gradients: Any, state: LookaheadState, params: Any = None
    ) -> tuple[Any, LookaheadState]:
        updates, fast_state = fast.update(gradients, state.fast, params)
        count = state.count + 1
        meet = count % period == 0

        def moved(slow: jax.Array, param: jax.Array, update: jax.Array) -> jax.Array:
            return jnp.where(meet, slow + share * (param + update - slow), slow)

        slow = jax.tree.map(moved, state.slow, params, updates)
        updates = jax.tree.map(lambda s, p, u: jnp.where(meet, s - p, u), slow, params, updates)
        return updates, LookaheadState(count, slow, fast_state)

    return optax.GradientTransformation(init, update)


def centralise() -> optax.GradientTransformation:
    """Subtracts from the gradient of every kernel its mean over the kernel's inputs.

    Outputs are the last axis here; `optax.centralize` expects them to be the first.

    Reference:
        Yong et al., Gradient Centralization (2004.01461), eq. 1.
    """

    def centred(gradient: jax.Array) -> jax.Array:
        if gradient.ndim < 2:
            return gradient
        return gradient - gradient.mean(tuple(range(gradient.ndim - 1)), keepdims=True)

    return optax.stateless(lambda gradients, _: jax.tree.map(centred, gradients))


def ranger(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.95,
    b2: float = 0.999,
    eps: float = 1e-5,
    period: int = 6,
    share: float = 0.5,
) -> optax.GradientTransformation:
    """Creates rectified Adam on centralised gradients, under Lookahead.

    Args:
        learning_rate: a number, or a schedule over the updates.
        b1: of Adam.
        b2: of Adam.
        eps: of Adam.
        period: see `lookahead`.
        share: see `lookahead`.
    """
    return lookahead(
        optax.chain(centralise(), optax.radam(learning_rate, b1, b2, eps)), period, share
    )


def make_optimiser(options: ConfigDict, steps: int) -> optax.GradientTransformation:
    """Creates Ranger or Adam.

    Args:
        options: name, learning_rate, b1, b2, eps, and decay, by which the rate is multiplied in
            every quarter of the run, continuously.
        steps: of the run.

    Raises:
        UserError: another name.
    """
    found = {"ranger": ranger, "adam": optax.adam}.get(options.name)
    if found is None:
        raise UserError(f"optimiser {options.name!r}: choose ranger or adam")
    rate: float | optax.Schedule = options.learning_rate
    if options.decay != 1:
        rate = optax.exponential_decay(options.learning_rate, max(steps // 4, 1), options.decay)
    return found(rate, options.b1, options.b2, options.eps)
