"""Adam beside regularisers that have updates of their own."""

import optax


def lazy_adam(
    learning_rate: float, every: int, betas: tuple[float, float] = (0.0, 0.99)
) -> optax.GradientTransformation:
    """Creates Adam for a network whose regulariser has an update of its own at some steps.

    Args:
        learning_rate: for updates without a regulariser.
        every: steps between two updates of the regulariser; 0 is a network without one.
        betas: Adam's decays for updates without a regulariser.

    Reference:
        Karras et al. (1912.04958), appendix B, lazy regularization.
    """
    ratio = every / (every + 1) if every else 1.0
    return optax.adam(learning_rate * ratio, betas[0] ** ratio, betas[1] ** ratio, eps=1e-8)
