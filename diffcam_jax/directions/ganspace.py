"""GANSpace: directions without supervision as principal components of W.

As a `Direction`, strength 1 adds one standard deviation along a component. `Components.edit`
instead moves a code to a given position: delta = (strength - current) * component * standard
deviation.

Source: Haerkoenen et al., GANSpace (2004.02546).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from diffcam_jax.directions import check_layers
from diffcam_jax.errors import UserError


class Components(NamedTuple):
    """Principal components of codes.

    Attributes:
        mean: [r, k] average code; r is 1 where all layers share one w.
        vectors: [n, r, k] unit vectors by descending variance; the largest entry of each is
            positive, which fixes the sign.
        deviations: [n] standard deviations along them.
    """

    mean: Float[np.ndarray, "r k"]
    vectors: Float[np.ndarray, "n r k"]
    deviations: Float[np.ndarray, " n"]

    def step(self, index: int) -> Float[np.ndarray, "r k"]:
        """One standard deviation along a component."""
        return self.deviations[index] * self.vectors[index]

    def coordinates(
        self, codes: Float[np.ndarray, "b rows k"], index: int
    ) -> Float[np.ndarray, "b *rows 1"]:
        """Positions of codes along a component, in standard deviations from the mean.

        Returns:
            One value for each row of a code [b, rows, 1] where components are vectors in W, else
            one for each code [b, 1, 1].
        """
        along = (codes - self.mean) * self.vectors[index]
        axes = -1 if len(self.mean) == 1 else (-2, -1)
        return along.sum(axes, keepdims=True) / self.deviations[index]

    def edit(
        self,
        codes: Float[np.ndarray, "b rows k"],
        index: int,
        strength: float,
        layers: tuple[int, int],
    ) -> Float[np.ndarray, "b rows k"]:
        """Moves codes to `strength` standard deviations along a component, in a range of layers.

        Args:
            codes: W+ codes.
            index: of the component.
            strength: in standard deviations from the mean; a code that is already there does not
                change.
            layers: half-open range of rows that change.

        Raises:
            UserError: there is no such component, or the layers do not lie within the rows.

        Reference:
            Haerkoenen et al., GANSpace (2004.02546), section 2.2, equation 4.
        """
        check_layers(layers, codes.shape[1])
        if not 0 <= index < len(self.vectors):
            raise UserError(
                f"there is no component {index}; choose from 0 to {len(self.vectors) - 1}"
            )
        delta = (strength - self.coordinates(codes, index)) * self.step(index)
        inside = (np.arange(codes.shape[1]) >= layers[0]) & (np.arange(codes.shape[1]) < layers[1])
        return codes + delta * inside[:, None]


def ganspace_directions(codes: Float[np.ndarray, "n r k"], count: int) -> Components:
    """Principal components of codes drawn from the prior.

    Args:
        codes: without truncation; r is 1 for codes in W. With a w for every layer, components
            extend over all rows at once.
        count: number of components.

    Raises:
        UserError: more components are requested than the codes have.
    """
    flat = codes.reshape(len(codes), -1)
    most = min(flat.shape)
    if not 1 <= count <= most:
        raise UserError(
            f"{count} components requested; {len(codes)} samples of {flat.shape[1]} numbers have "
            f"1 to {most}"
        )
    pca = PCA(count, random_state=0).fit(flat)
    vectors = pca.components_
    signs = np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(1, keepdims=True), 1))
    return Components(
        pca.mean_.reshape(codes.shape[1:]).astype(np.float32),
        (vectors * signs).reshape(count, *codes.shape[1:]).astype(np.float32),
        np.sqrt(pca.explained_variance_).astype(np.float32),
    )
