"""The trained classifier of Diff-CAM: its network, its classes, and the sign of its differences."""

import os
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder, trees
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import store


@flax.struct.dataclass(eq=False)
class Classifier:
    """A trained classifier of edits.

    Attributes:
        network: a `PairClassifier` with its {"params", "batch_stats"}, float32.
        names: its classes, in the order of the logits.
        sign: of the differences that it was trained on, which no other sign agrees with: +1 for
            features(T) - features(I'), as in the official code; -1 for the reverse, as printed in
            Eq. 1 of 2207.08134.
    """

    network: Network
    names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    sign: int = flax.struct.field(pytree_node=False, default=1)


def load_classifier(path: str | os.PathLike | None = None) -> Classifier:
    """Reads a classifier that `save_classifier` wrote.

    Args:
        path: of the file; None reads the one that ships for the embedded generator.

    Raises:
        UserError: the file is missing or holds something else.
    """
    tree, metadata = store.load_pretrained("diffcam_mobile") if path is None else trees.load(path)
    if metadata.get("kind") != "diff_classifier":
        raise UserError(
            f"{path or 'diffcam_mobile'} is not a Diff-CAM classifier; train one with train.py"
        )
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), tree)
    network = Network(model_folder.build(metadata["model"]), variables)
    return Classifier(network, tuple(metadata["classes"]), metadata.get("sign", 1))


def classifier_from_folder(folder: ModelFolder) -> Classifier:
    """The classifier of a converted official checkpoint or of a training run.

    Args:
        folder: with a network in the role "classifier"; its config names the classes. Classes that
            were never published are called class_N.

    Raises:
        UserError: there is no classifier in the folder.
    """
    names, sign = tuple(folder.config["classes"]), folder.config.get("sign", 1)
    return Classifier(folder.network("classifier"), names, sign)


def save_classifier(path: str | os.PathLike, network: Network, metadata: Mapping[str, Any]) -> None:
    """Writes a classifier: kernels in half precision, the normalisation's numbers in float32.

    Args:
        path: of the .safetensors file.
        network: to be written.
        metadata: "classes" in the order of the logits, "sign", and where the weights come from.

    Raises:
        OSError: the file cannot be written.
    """
    tree = jax.tree.map(
        lambda x: np.asarray(x, np.float16 if x.ndim > 1 else np.float32), network.variables
    )
    described = model_folder.describe(network.module)
    trees.save(path, tree, {"kind": "diff_classifier", "model": described, **metadata})
