"""A small deghosting network around the embedded generator: encoder, frozen prior and decoder.

It follows section 3.4 of 2207.08134 and is made for a CPU. An edit has I, the aligned picture, its
inversion I', the edited inversion T, the mask M and the blend F = I + M (T + k (I - I') - I)
(`editing`). The network gives five numbers for every pixel at `in_size`, a, b and the three of d,
which are enlarged to the pictures' own size:

    result = F + a (T - I) + b (I - I') + d

a takes more or less of the edited picture than the mask, b keeps more or less of what the inversion
lost, d draws what neither has. All detail beyond `in_size` is therefore that of I, I' and T, where
the official network draws it anew from 128 pixels, and no second pass of the generator at full size
is needed. The last layer is initialised with zeros: an untrained network returns the blend.

Unlike the official network this one sees I, I', T and M beside F, and starts the prior from the
code of T, with offsets, so that it need not guess what was edited. The prior (Chan et al., GLEAN,
arXiv 2012.00739) is the MobileStyleGAN of the edit itself, run up to `prior_side`: the encoder's
maps are added to those of its first blocks, and these are inputs of the decoder. The prior is
passed in, never trained, and not copied.

Pictures are NHWC RGB in [-1, 1]. Kernels are 1x1, or 3x3 and depthwise; halving and doubling turn
blocks of 2x2 pixels into channels and back.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.rrdb import SLOPE
from diffcam_jax.ops.depthwise import depthwise3x3
from diffcam_jax.ops.image import resize
from diffcam_jax.ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle

FACTORS = 5  # a, b, d


class Views(NamedTuple):
    """What an edit has when it has blended.

    Attributes:
        fused: F, the blend [b, s, s, 3].
        original: I [b, s, s, 3].
        inverted: I' [b, s, s, 3].
        edited: T [b, s, s, 3].
        mask: M [b, s, s] in [0, 1].
        codes: W+ codes of T [b, rows, k].
    """

    fused: Float[Array, "b s s 3"]
    original: Float[Array, "b s s 3"]
    inverted: Float[Array, "b s s 3"]
    edited: Float[Array, "b s s 3"]
    mask: Float[Array, "b s s"]
    codes: Float[Array, "b rows k"]


_quiet = nn.initializers.variance_scaling(0.1, "fan_in", "normal")  # residual branches start small


class Mix(nn.Module):
    """A residual block: depthwise 3x3 filter, twice as many channels, leaky ReLU, and back."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Maps features; shape and channels do not change."""
        kernel = self.param("depthwise", nn.initializers.normal(1 / 3), (3, 3, x.shape[-1]))
        inner = nn.leaky_relu(
            nn.Dense(2 * x.shape[-1], name="widen")(depthwise3x3(x, kernel)), SLOPE
        )
        return x + nn.Dense(x.shape[-1], kernel_init=_quiet, name="narrow")(inner)


class MobileDeghoster(nn.Module):
    """The network.

    Attributes:
        in_size: side at which it works, a power of two; the pictures' side is a multiple of it.
        out_size: side of the generator's pictures; nothing is computed from it, but `pipeline`
            reads it.
        widths: channels at half of `in_size`, a quarter, and so on; the last map is 4x4.
        prior_side: side of the prior's largest features that are used.
        rank: coefficients of a row's offset.
        prior: hash of the generator that it was trained with (`directions.space.generator_hash`);
            "" for no particular one.
    """

    in_size: int = 256
    out_size: int = 1024
    widths: Sequence[int] = (32, 64, 96, 128, 144, 160)
    prior_side: int = 32
    rank: int = 48
    prior: str = ""

    def __call__(
        self, views: Views, generator: nn.Module, variables: Any
    ) -> Float[Array, "b s s 3"]:
        """The blend without ghosts.

        Args:
            views: of any side that is a multiple of `in_size`, codes with the rows that the
                generator reads.
            generator: the prior, a MobileStyleGAN.
            variables: its variables, which get no gradient.

        Returns:
            [b, s, s, 3] RGB, nominally in [-1, 1], not clamped.

        Raises:
            ValueError: the pictures have another size, the generator is of another kind, or the
                attributes do not fit together.
        """
        fused, original, inverted, edited, mask, codes = views
        side, small = fused.shape[1], (self.in_size, self.in_size)
        if side % self.in_size or fused.shape[2] != side:
            raise ValueError(
                f"the side of the pictures must be a multiple of {self.in_size}, got {fused.shape}"
            )
        if not isinstance(generator, MobileStyleGAN):
            raise ValueError(
                f"the prior must be a MobileStyleGAN, got a {type(generator).__name__}"
            )
        parts = fused, edited - original, original - inverted, mask[..., None]
        factors = self.factors(
            resize(jnp.concatenate(parts, -1), small, "area"), codes, generator, variables
        )
        a, b, d = jnp.split(resize(factors, (side, side), "bilinear"), (1, 2), axis=-1)
        return fused + a * parts[1] + b * parts[2] + d

    @nn.compact
    def factors(
        self,
        x: Float[Array, "b h h 10"],
        codes: Float[Array, "b rows k"],
        generator: nn.Module,
        variables: Any,
    ) -> Float[Array, "b h h 5"]:
        """a, b and d at `in_size`.

        Args:
            x: F, T - I, I - I' and M side by side.
            codes: as in `__call__`.
            generator: as in `__call__`.
            variables: as in `__call__`.
        """
        sides = [self.in_size >> (i + 1) for i in range(len(self.widths))]
        if sides[-1] != 4 or self.prior_side not in sides:
            raise ValueError(
                f"in_size {self.in_size} halved {len(self.widths)} times must be 4, and "
                f"prior_side {self.prior_side} one of {sides}"
            )
        maps = {}
        for side, width in zip(sides, self.widths, strict=True):
            x = maps[side] = Mix(name=f"encode_{side}")(
                nn.Dense(width, name=f"enter_{side}")(pixel_unshuffle(x))
            )

        drawn = self._drawn(maps, codes, generator, variables)
        x = None
        for side, width in zip(reversed(sides), reversed(self.widths), strict=True):
            joined = nn.Dense(width, name=f"own_{side}")(maps[side])
            if side in drawn:
                joined += nn.Dense(width, name=f"drawn_{side}")(_scaled(drawn[side]))
            if x is not None:
                joined += pixel_shuffle(nn.Dense(4 * width, name=f"rise_{side}")(x))
            x = Mix(name=f"decode_{side}")(nn.leaky_relu(joined, SLOPE))
        return pixel_shuffle(
            nn.Dense(4 * FACTORS, kernel_init=nn.initializers.zeros, name="leave")(x)
        )

    def _drawn(
        self,
        maps: dict[int, Array],
        codes: Float[Array, "b rows k"],
        generator: nn.Module,
        variables: Any,
    ) -> dict[int, Array]:
        """The prior's features by their side, with the encoder's maps added at each of them."""
        levels = self.prior_side.bit_length() - 2  # 4 is the first
        rows = 2 * levels - 1
        read = nn.leaky_relu(
            nn.Dense(maps[4].shape[-1], name="read")(maps[4].reshape(len(codes), -1)), SLOPE
        )
        coefficients = nn.Dense(rows * self.rank, name="coefficients")(read).reshape(
            -1, rows, self.rank
        )
        offsets = nn.Dense(
            codes.shape[-1], use_bias=False, kernel_init=nn.initializers.zeros, name="basis"
        )
        w = codes[:, :rows] + offsets(coefficients)

        frozen, drawn = jax.lax.stop_gradient(variables), {}
        x = generator.apply(frozen, w[:, 0], method=_first)
        for level in range(levels):
            if level:
                x = generator.apply(
                    frozen, level - 1, x, w[:, 2 * level - 1], w[:, 2 * level], method=_next
                )
            taken = nn.Dense(
                x.shape[-1], kernel_init=nn.initializers.zeros, name=f"taken_{x.shape[1]}"
            )
            x = drawn[x.shape[1]] = x + taken(maps[x.shape[1]])
        return drawn


def _first(generator: MobileStyleGAN, w: Float[Array, "b k"]) -> Float[Array, "b 4 4 c"]:
    """The generator's features at 4x4."""
    return generator.conv1(jnp.broadcast_to(generator.const, (len(w), *generator.const.shape)), w)


def _next(
    generator: MobileStyleGAN,
    block: int,
    x: Float[Array, "b h w c"],
    w_up: Float[Array, "b k"],
    w_out: Float[Array, "b k"],
) -> Float[Array, "b h2 w2 d"]:
    """The generator's features at twice the side."""
    return generator.block[block](x, w_up, w_out)


def _scaled(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Features of unit mean square at every pixel: the prior's levels differ by magnitudes."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)
