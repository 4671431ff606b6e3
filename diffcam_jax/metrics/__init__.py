"""Measures of pictures and of sets of pictures.

Measures of pairs give one value for each pair, so that `bootstrap.interval` can say how far their
mean is to be trusted; measures of sets collect their state batch by batch (`init`, `update`,
`merge`, `compute`). Networks look at pictures through `batches`, which shares every batch out among
the devices. Pictures are RGB: uint8 where they are read from files or scored by networks, uint8 or
float32 in [-1, 1] where a measure has a gradient (`pixel`), 0..255 for `swd`.
"""
