"""Metrics of pairs and of sets of pictures.

Metrics of pairs give one value for each pair, from which `bootstrap.interval` computes a confidence
interval of the mean; metrics of sets accumulate their state batch by batch (`init`, `update`,
`merge`, `compute`). Networks run by `batches`, which distributes every batch over the devices.
Pictures are RGB: uint8 where they are read from files or scored by networks, uint8 or float32 in
[-1, 1] where a metric has a gradient (`pixel`), 0..255 for `swd`.
"""
