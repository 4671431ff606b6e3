"""What inverted codes are good for: interpolation, manipulation, style mixing, semantic diffusion.

    reconstruction.search(inverter, pictures)             # aligned photographs -> W+ codes
    interpolation.between(a, b)                           # codes between two
    manipulation.manipulate(codes, edits, strengths)      # codes along boundaries
    mixing.mix(content, style, from_layer)                # coarse rows of one, fine rows of another
    diffusion.diffuse(inverter, targets, contexts, mask)  # a part of one picture in another

All take and give arrays: pictures uint8 [b, s, s, 3], aligned as the generator's; codes W+ float32
[b, n, k]. `faces` reads photographs and files of codes, `animation` writes loops; `invert.py` is
the command line of them all. Source: Zhu et al., In-Domain GAN Inversion (2004.00049).
"""
