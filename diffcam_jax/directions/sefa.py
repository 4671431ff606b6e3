"""SeFa: semantic directions without supervision (Shen and Zhou, arXiv 2007.06600)."""

import numpy as np
from jaxtyping import Float


def modulation_kernels(params: dict, layers: tuple[int, int]) -> list[np.ndarray]:
    """Modulation weights of MobileStyleGAN that are driven by a range of W+ rows.

    Args:
      params: parameter tree of `MobileStyleGAN`.
      layers: half-open range of W+ rows.

    Returns:
      Kernels [512, channels], in the order of the rows.
    """
    blocks = sorted((name for name in params if name.startswith("block_")), key=lambda name: int(name.split("_")[1]))
    by_row = [[params["conv1"]["modulation"]["kernel"]]]
    for name in blocks:
        block = params[name]
        by_row.append([block["up"]["kernel"], block["conv1"]["modulation"]["kernel"]])
        by_row.append([block["conv2"]["modulation"]["kernel"]])
    by_row.append([params["to_image"]["modulation"]["kernel"]])
    return [np.asarray(kernel) for row in by_row[slice(*layers)] for kernel in row]


def sefa_directions(kernels: list[np.ndarray], count: int) -> Float[np.ndarray, "n k"]:
    """Unit directions in W that change the modulations most: top eigenvectors of A A^T.

    Args:
      kernels: modulation weights [512, channels]; their columns, scaled to unit length, side by side are A.
      count: number of directions.

    Returns:
      [count, 512], by descending eigenvalue; the largest entry of each is positive, which fixes the sign.
    """
    a = np.concatenate(kernels, axis=1)
    a = a / np.linalg.norm(a, axis=0, keepdims=True)
    vectors = np.linalg.eigh(a @ a.T)[1][:, ::-1][:, :count].T
    signs = np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(1, keepdims=True), 1))
    return (vectors * signs).astype(np.float32)
