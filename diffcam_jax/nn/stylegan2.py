"""StyleGAN2 generator (Karras et al., arXiv 1912.04958, config-f): any size, width and depth.

This includes the form that ADA publishes (2006.06676), with or without labels. z and w are [b,
512]; pictures are NHWC RGB, nominally in [-1, 1] and not clamped. W+ codes are [b, n, 512]: conv1
takes row 0 and its to-RGB row 1; block i takes row 2i + 1 for the up-convolution, 2i + 2 for the
convolution, 2i + 3 for to-RGB, so the row of one to-RGB is also that of the next up-convolution.
Rows beyond `num_styles` are ignored.
"""

import itertools
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.errors import UserError
from diffcam_jax.nn.latents import style_rows
from diffcam_jax.nn.stylegan2_layers import (
    AfterUp,
    MappingLayer,
    ScaledDense,
    StyledConv,
    ToRGB,
    normalised,
)
from diffcam_jax.ops.fir import upsample
from diffcam_jax.ops.image import resize
from diffcam_jax.ops.window import CELLS, Window, cut, narrowing

BeforeUp = Callable[[int, Array], Array]
Trunk = tuple[Float[Array, "b s s c"], Float[Array, "b s s 3"]]  # features and the picture so far

# Samples that a map needs around a window: the up-convolution spoils two of the map twice as large,
# the convolution there a third, and 2 * 3 - 3 = 3 are left for the next. The picture needs less.
BORDER = 3


def config_widths(
    resolution: int, channel_multiplier: int | float = 2, channel_max: int = 512
) -> tuple[int, ...]:
    """Channels at 4, 8, 16, ... up to a resolution: 2^14 multiplier / side, at most `channel_max`.

    Args:
        resolution: side of the picture in pixels, a power of two.
        channel_multiplier: 2 for config-f, 1 for config-e, which halves the widths from 64 up.
        channel_max: the widest layer.

    Reference:
        Karras et al., Analyzing and Improving the Image Quality of StyleGAN (1912.04958), appendix
        B.
    """
    sides = [2**k for k in range(2, resolution.bit_length())]
    return tuple(
        min(channel_max, int(2**14 * channel_multiplier / side)) if side > 32 else channel_max
        for side in sides
    )


class StyleGAN2Generator(nn.Module):
    """The generator: `mapping` z -> w, `synthesis` w or W+ -> picture, `__call__` both.

    Its variables are "params", and in "noise" one fixed noise map for each convolution.

    Attributes:
        widths: channels at 4, 8, 16, ...; the picture is as large as the last of them.
        latent_size: size of z and w.
        mapping_layers: depth of the mapping network.
        pixel_norm_inside: whether z is divided by sqrt(mean z^2 + 1e-8); False adds 1e-6 to the
            root instead, as mmgen does.
        conv_clamp: largest magnitude of every layer's output, with which ADA's half-precision
            networks were trained; None for no limit.
        num_classes: length of the labels of a conditional generator; 0 is one without labels.
        chosen: class that a conditional generator draws where no label is given; None for none.
    """

    widths: tuple[int, ...] = config_widths(1024)
    latent_size: int = 512
    mapping_layers: int = 8
    pixel_norm_inside: bool = True
    conv_clamp: float | None = None
    num_classes: int = 0
    chosen: int | None = None

    @property
    def resolution(self) -> int:
        """Side of the full picture in pixels."""
        return 2 ** (len(self.widths) + 1)

    @property
    def num_styles(self) -> int:
        """Rows of W+ that have an effect."""
        return 2 * len(self.widths)

    @property
    def cells(self) -> int:
        """Side of the map at which windows begin."""
        return min(CELLS, self.resolution)

    @property
    def style_names(self) -> tuple[str, ...]:
        """The layers of the styles that `style_vectors` returns, in its order."""
        blocks = range(len(self.widths) - 1)
        layers = [(f"convs_{2 * i}", f"convs_{2 * i + 1}", f"to_rgbs_{i}") for i in blocks]
        return ("conv1", "to_rgb1", *(name for block in layers for name in block))

    def setup(self) -> None:
        """Creates the layers."""
        widths, clamp = self.widths, self.conv_clamp
        if self.num_classes:
            self.embed = ScaledDense(self.latent_size, False)
        self.dense = [MappingLayer(self.latent_size) for _ in range(self.mapping_layers)]
        self.const = self.param("const", nn.initializers.normal(1.0), (4, 4, widths[0]))
        self.conv1 = StyledConv(widths[0], widths[0], 4, clamp=clamp)
        self.to_rgb1 = ToRGB(widths[0], clamp)
        convs = []
        for i, (before, width) in enumerate(itertools.pairwise(widths)):
            convs.append(StyledConv(before, width, 8 * 2**i, up=True, clamp=clamp))
            convs.append(StyledConv(width, width, 8 * 2**i, clamp=clamp))
        self.convs = convs
        self.to_rgbs = [ToRGB(width, clamp) for width in widths[1:]]

    def mapping(
        self, z: Float[Array, "b k"], label: Float[Array, "b c"] | None = None
    ) -> Float[Array, "b k"]:
        """Maps normally distributed z [b, 512] to w [b, 512].

        Args:
            z: of any number of samples.
            label: [b, num_classes] of a conditional generator, 1 for the class that is drawn; by
                default that of `chosen`.

        Raises:
            UserError: it is conditional, and no class was chosen.
        """
        if self.pixel_norm_inside:
            w = normalised(z)
        else:
            w = z / (jnp.sqrt(jnp.mean(z**2, axis=-1, keepdims=True)) + 1e-6)
        if self.num_classes:
            label = self._chosen_label(len(z)) if label is None else label
            w = jnp.concatenate([w, normalised(self.embed(label))], axis=-1)
        for dense in self.dense:
            w = dense(w)
        return w

    def _chosen_label(self, count: int) -> Float[Array, "b c"]:
        if self.chosen is None and not self.is_initializing():
            raise UserError(
                f"the generator draws {self.num_classes} classes and none is chosen; give a "
                f"number from 0 to {self.num_classes - 1}: edit.py, invert.py and app.py take "
                "--class N, evaluate.py takes --config.generator_class=N"
            )
        return jnp.zeros((count, self.num_classes)).at[:, self.chosen or 0].set(1.0)

    def style_vectors(self, w: Float[Array, "b *rows k"]) -> tuple[Float[Array, "b _"], ...]:
        """The styles of all layers ("S space"), named by `style_names`.

        Args:
            w: [b, 512], or W+ codes [b, n, 512] with n >= `num_styles` (further rows are ignored).

        Returns:
            One [b, channels] for each layer: the factors of its input channels, near 1 on average.

        Reference:
            Wu et al., StyleSpace Analysis (2011.12799).
        """
        rows = style_rows(w, self.num_styles)
        styles = [self.conv1.style(rows[:, 0]), self.to_rgb1.style(rows[:, 1])]
        for i, to_rgb in enumerate(self.to_rgbs):
            layers = (self.convs[2 * i], self.convs[2 * i + 1], to_rgb)
            styles += [layer.style(rows[:, 2 * i + 1 + k]) for k, layer in enumerate(layers)]
        return tuple(styles)

    def synthesis(
        self,
        w: Float[Array, "b *rows k"],
        size: int | None = None,
        noise: str = "fixed",
        after_up: AfterUp | None = None,
        window: Window | None = None,
    ) -> Float[Array, "b h w 3"]:
        """Draws the pictures of latent codes.

        Args:
            w: [b, 512], or W+ codes [b, n, 512] with n >= `num_styles` (further rows are ignored).
            size: side of the picture in pixels, `resolution` by default; a smaller one is the exact
                area mean of the full picture.
            noise: "fixed" adds the maps of the collection "noise", "random" draws from the rng
                "noise", "none" adds nothing.
            after_up: (resolution, features [b, r, r, c]) -> features that replace the output of the
                up-convolution to that resolution, before its noise, bias and leaky ReLU.
            window: the part of the full picture to draw, in cells of a map of `cells` x `cells`.

        Returns:
            [b, size, size, 3] RGB, nominally in [-1, 1], not clamped. With a window of h x w cells
            [b, h f, w f, 3], f = `resolution` / `cells`: that part of the whole picture (except for
            random noise).

        Raises:
            ValueError: a window is given together with `size` or `after_up`, or is larger than the
                map.
        """
        if window is not None:
            if size is not None or after_up is not None:
                raise ValueError("a window is drawn without size and after_up")
            return self.window_of(self.trunk(w, noise), w, window, noise)
        return self.synthesis_from_styles(self.style_vectors(w), size, noise, after_up)

    def trunk(self, w: Float[Array, "b *rows k"], noise: str = "fixed") -> Trunk:
        """Features and picture up to the map where windows begin; arguments as in `synthesis`."""
        return self._drawn(self.style_vectors(w), noise, None, (self.cells // 2).bit_length() - 1)

    def window_of(
        self, trunk: Trunk, w: Float[Array, "b *rows k"], window: Window, noise: str = "fixed"
    ) -> Float[Array, "b h w 3"]:
        """Draws a window from the result of `trunk`; otherwise as `synthesis` with a window."""
        (x, picture), styles = trunk, self.style_vectors(w)
        *steps, (inner, _) = narrowing(window, self.cells, self.resolution, BORDER)
        for i, (part, place) in enumerate(steps, len(self.to_rgbs) - len(steps)):
            x = self.convs[2 * i](cut(x, part), styles[3 * i + 2], noise, None, place)
            x = self.convs[2 * i + 1](x, styles[3 * i + 3], noise, None, place)
            picture = upsample(cut(picture, part)) + self.to_rgbs[i](x, styles[3 * i + 4])
        return cut(picture, inner)

    def synthesis_from_styles(
        self,
        styles: tuple[Float[Array, "b _"], ...],
        size: int | None = None,
        noise: str = "fixed",
        after_up: AfterUp | None = None,
    ) -> Float[Array, "b s s 3"]:
        """Draws the pictures of styles from `style_vectors`.

        The other arguments are those of `synthesis`.
        """
        _, picture = self._drawn(styles, noise, after_up, len(self.widths))
        return resize(picture, (size or self.resolution,) * 2, "area")

    def _drawn(
        self, styles: tuple[Array, ...], noise: str, after_up: AfterUp | None, n: int
    ) -> Trunk:
        """Features and picture at the n-th side."""
        maps, picture = self._maps(styles, noise, None, after_up), None
        for to_rgb, style, (_, x) in zip((self.to_rgb1, *self.to_rgbs)[:n], styles[1::3], maps):
            rgb = to_rgb(x, style)
            picture = rgb if picture is None else upsample(picture) + rgb
        return x, picture

    def features(
        self, w: Float[Array, "b *rows k"], noise: str = "fixed", before_up: BeforeUp | None = None
    ) -> dict[int, Float[Array, "b r r _"]]:
        """The feature maps, without pictures.

        Args:
            w: as in `synthesis`.
            noise: as in `synthesis`.
            before_up: (resolution, features [b, r, r, c]) -> features that replace the input of the
                up-convolution from that resolution.

        Returns:
            Resolution -> output of its last convolution, before `before_up` is applied.
        """
        return dict(self._maps(self.style_vectors(w), noise, before_up))

    def _maps(
        self,
        styles: tuple[Array, ...],
        noise: str,
        before_up: BeforeUp | None,
        after_up: AfterUp | None = None,
    ) -> Iterator[tuple[int, Array]]:
        x = jnp.broadcast_to(self.const, (styles[0].shape[0], *self.const.shape))
        x = self.conv1(x, styles[0], noise)
        yield 4, x
        for i in range(len(self.widths) - 1):
            if before_up is not None:
                x = before_up(4 * 2**i, x)
            x = self.convs[2 * i](x, styles[3 * i + 2], noise, after_up)
            x = self.convs[2 * i + 1](x, styles[3 * i + 3], noise)
            yield 8 * 2**i, x

    def __call__(
        self, z: Float[Array, "b k"], label: Float[Array, "b c"] | None = None
    ) -> Float[Array, "b s s 3"]:
        """Pictures of normally distributed z [b, 512], at full resolution; see `mapping`."""
        return self.synthesis(self.mapping(z, label))
