"""Pure array functions on NHWC float32 arrays: no parameters, no state."""
