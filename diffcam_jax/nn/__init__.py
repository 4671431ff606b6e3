"""Networks as flax.linen modules: NHWC, RGB in [-1, 1], parameters as plain nested dicts."""
