"""Edits of aligned faces the product's way, one `FaceSession` each, with shared networks."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.command.progress import Progress
from diffcam_jax.directions import Edit
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.editor.face_session import FaceSession
from diffcam_jax.editor.results import FaceEdit
from diffcam_jax.faces import evidence, scorers
from diffcam_jax.faces.shared import face_landmarker
from diffcam_jax.files.domain import FACES, Domain
from diffcam_jax.inversion.tuning import TuningSettings


class FaceEditor:
    """Edits aligned faces with one set of networks.

    Args:
        networks: on the device.
        directions: by name, with the rows of this generator.
        domain: what kind of pictures they are.
    """

    def __init__(
        self, networks: Pipeline, directions: Mapping[str, Edit], domain: Domain = FACES
    ) -> None:
        self.networks, self.directions, self.domain = networks, directions, domain

    def __call__(
        self,
        aligned: UInt8[np.ndarray, "s s 3"],
        codes: Float[np.ndarray, "n k"],
        quad: Float[np.ndarray, "4 2"],
        strengths: Mapping[str, float],
        config: EditConfig,
        settings: TuningSettings | None,
        raw: bool = False,
        user_mask: Float[np.ndarray, "s s"] | None = None,
        cache: bool = True,
        progress: Progress = False,
    ) -> FaceEdit:
        """Edits one face.

        Args:
            aligned: the photograph.
            codes: its code, the pivot.
            quad: where it lies in the photograph.
            strengths: attribute -> strength, in usual moves; with `raw` in lengths of the array.
            config: with a window.
            settings: of the tuning; None leaves the generator as it is.
            raw: take strengths as they are, without measuring the result.
            user_mask: where the edit may act, or also acts.
            cache: read and keep tuned numbers.
            progress: show a bar while tuning, or who is told of every stage.

        Raises:
            UserError: a network is neither cached nor can it be fetched.
        """
        session = FaceSession(self, aligned, codes, quad, list(strengths), config, user_mask)
        return session.run(list(strengths.values()), settings, raw, cache, progress)

    def score(self, image: UInt8[np.ndarray, "s s 3"], direction: Edit) -> float:
        """The direction's own score of an aligned picture; NaN where it has none."""
        scorer = scorers.SCORERS[direction.score]
        found = list(evidence.gather(image[None], scorer.needs, face_landmarker(), 1))
        return float(scorer.formula(found[0][1])) if found else float("nan")
