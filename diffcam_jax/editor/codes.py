"""Codes of aligned faces: an encoder's, refined, or found by optimisation and kept in the cache."""

import jax
import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax import inversion
from diffcam_jax.command.progress import Progress
from diffcam_jax.editing.pipeline import Pipeline, encode
from diffcam_jax.errors import UserError
from diffcam_jax.files.code_cache import CodeCache
from diffcam_jax.ops.image import to_unit


class Coder:
    """Finds codes with one pipeline of networks.

    Args:
        networks: whose encoder gives codes, where there is one.
    """

    def __init__(self, networks: Pipeline) -> None:
        self._networks = networks
        self._inverters: dict[inversion.AnySettings, inversion.Inverter] = {}

    def __call__(
        self,
        aligned: UInt8[np.ndarray, "s s 3"],
        config: inversion.PriorSettings = inversion.PriorSettings(),
        refine: int = 0,
        cache: bool = True,
        progress: Progress = False,
    ) -> Float[np.ndarray, "rows 512"]:
        """The W+ code of an aligned face.

        Args:
            aligned: as FFHQ, as large as the generator's pictures.
            config: of the optimisation that finds codes where there is no encoder.
            refine: steps of in-domain optimisation from the encoder's code
                (`inversion.REFINEMENT`); 0 takes that code as it is.
            cache: keep and reuse codes that were optimised.
            progress: show a bar, or tell.

        Raises:
            UserError: a refinement without an encoder, or no loss was finite.
        """
        image = jax.device_put(to_unit(aligned)[None])
        if self._networks.encoder is not None and refine == 0:
            return np.asarray(encode(self._networks, image))[0]
        self.check_refine(refine)
        settings = inversion.REFINEMENT.with_steps(refine) if refine else config
        inverter = self._inverter("in_domain" if refine else "prior", settings)
        store = CodeCache(inverter.recipe)
        codes = store.load(aligned) if cache else None
        if codes is None:
            found = inverter(image, progress=progress)
            codes = found.codes[0]
            if not np.isfinite(found.loss[0]):
                raise UserError(
                    "the inversion found no finite loss for this face; try other landmarks or "
                    "more light"
                )
            if cache:
                store.save(aligned, codes)
        return codes

    def check_refine(self, refine: int) -> None:
        """Whether codes can be refined.

        Args:
            refine: steps.

        Raises:
            UserError: fewer than 0, or there is no encoder to begin at.
        """
        if refine < 0:
            raise UserError(f"refine={refine}: give 0 steps or more")
        if refine and self._networks.encoder is None:
            raise UserError(
                "a refinement begins at an encoder's code; give an encoder, or leave it out"
            )

    def _inverter(self, method: str, settings: inversion.AnySettings) -> inversion.Inverter:
        """Made on demand: an edit whose code is cached starts without its networks."""
        if settings not in self._inverters:
            networks = self._networks.generator, self._networks.encoder
            self._inverters[settings] = inversion.Inverter(*networks, method, settings)
        return self._inverters[settings]
