"""`Editor`: photographs in, photographs out, around the pure `editing.edit_batch`.

editor = Editor.from_pretrained("ffhq")
result = editor.edit(pixels, {"smiling": 1.0, "old": 0.5})
result.image                      # the whole photograph, same size and dtype; outside the mask the very same pixels
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8, UInt16

import diffcam_jax
from diffcam_jax import align, inversion, pipeline, weights
from diffcam_jax.code_cache import CodeCache
from diffcam_jax.compose import MaskConfig
from diffcam_jax.directions import Direction, check_strengths, direction_matrix
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing import EditConfig, EditParams, edit_batch
from diffcam_jax.errors import UserError
from diffcam_jax.landmarks import FaceLandmarker, select_faces
from diffcam_jax.ops.image import from_unit, to_unit

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]

# A mask's faint rim would move pixels for nothing, and its core should take the edit whole; the feather hides the border.
PRODUCT_MASK = MaskConfig(low=0.4, high=0.8, dilation=6, feather=10, resize="bilinear")
# Chosen on the portrait of the demo among four settings: the strongest identity at an undiminished smile.
PRODUCT_CONFIG = EditConfig(mask=PRODUCT_MASK, keep=0.25, gate=(0.2, 0.4), floor=0.1)


@dataclasses.dataclass(frozen=True, eq=False)
class FaceEdit:
    """One face's way through the edit; pictures are uint8 [s, s, 3], aligned as FFHQ.

    Attributes:
      aligned, inverted, edited, fused: I, G(w), T and their blend (Eq. 5).
      deghosted: the deghosting network's picture of the blend, None without such a network.
      source: what goes into the photograph, float32 [s, s, 3] in [0, 1]: T, or the deghosted picture.
      mask: [s, s] float32 in [0, 1].
      paste_mask: [s, s], where `source` goes into the photograph; the mask, or with deghosting a region around it.
      latents: W+ code of the photograph [18, 512]; edited_latents: with the edits.
      quad: [4, 2] place of the crop in the photograph.
      report: measurements, ready for JSON.
    """

    aligned: np.ndarray
    inverted: np.ndarray
    edited: np.ndarray
    fused: np.ndarray
    deghosted: np.ndarray | None
    source: np.ndarray
    mask: np.ndarray
    paste_mask: np.ndarray
    latents: np.ndarray
    edited_latents: np.ndarray
    quad: np.ndarray
    report: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class EditResult:
    """An edited photograph.

    Attributes:
      image: [h, w, 3], size and dtype of the input.
      faces: the faces that were edited, largest first; the properties below are those of the first.
      report: strengths, mask area, untouched share, seconds, versions, hashes, and a list of the faces' reports.
    """

    image: np.ndarray
    faces: tuple[FaceEdit, ...]
    report: dict[str, Any]

    aligned = property(lambda self: self.faces[0].aligned)
    inverted = property(lambda self: self.faces[0].inverted)
    edited = property(lambda self: self.faces[0].edited)
    fused = property(lambda self: self.faces[0].fused)
    deghosted = property(lambda self: self.faces[0].deghosted)
    mask = property(lambda self: self.faces[0].mask)
    latents = property(lambda self: self.faces[0].latents)


class Editor:
    """Edits photographs with one pipeline of networks.

    Attributes:
      networks: generator, encoder, classifier, deghosting network and directions.
      directions: name -> Direction that can be asked for.
      config: default choices of an edit.
    """

    def __init__(self, networks: pipeline.Pipeline, config: EditConfig = PRODUCT_CONFIG):
        pipeline.check(networks)
        networks = pipeline.on_device(networks)
        self.networks, self.config = networks, config
        self.generator, self.classifier, self.classes = (
            networks.generator.module,
            networks.classifier.model,
            networks.classifier.names,
        )
        self.deghoster = networks.deghoster.module if networks.deghoster else None
        self.params = EditParams(
            networks.generator.variables,
            networks.classifier.variables,
            networks.deghoster.variables if networks.deghoster else None,
        )
        self.generator_hash = generator_hash(networks.generator)
        self.classifier_hash = weights.tree_hash(networks.classifier.variables)
        self.encoder_hash = weights.tree_hash(networks.encoder.network.variables) if networks.encoder else ""
        self.directions = dict(networks.directions)
        self._inverters: dict[inversion.InversionConfig, inversion.Inverter] = {}

    @classmethod
    def from_pretrained(
        cls, name: str = "ffhq", directions: Mapping[str, Direction] | None = None, config: EditConfig = PRODUCT_CONFIG
    ) -> "Editor":
        """The embedded editor for faces; parts that are missing in the cache are fetched once.

        Args:
          name: "ffhq".
          directions: in the place of the shipped ones.
          config: default choices of an edit.

        Raises:
          UserError: unknown name, or a part is neither cached nor to be had.
        """
        if name != "ffhq":
            raise UserError(f"no pretrained editor is called {name!r}; there is ffhq")
        return cls(pipeline.pretrained(directions), config)

    @classmethod
    def from_checkpoints(cls, config: EditConfig = EditConfig(), **folders: Any) -> "Editor":
        """An editor from converted official checkpoints; by default it follows the official code (spec: variant "official").

        Args:
          config: default choices of an edit.
          folders: generator, encoder, classifier, deghoster, directions; see `pipeline.from_checkpoints`.

        Raises:
          UserError: a folder lacks its network, or the networks do not fit together.
        """
        return cls(pipeline.from_checkpoints(**folders), config)

    def _inverter(self, config: inversion.InversionConfig) -> inversion.Inverter:
        """Only an inversion needs its networks: an edit whose code is cached starts without them."""
        if config not in self._inverters:
            self._inverters[config] = inversion.Inverter(self.networks.generator, method="prior", settings=config)
        return self._inverters[config]

    def invert(
        self,
        aligned: UInt8[np.ndarray, "s s 3"],
        config: inversion.InversionConfig = inversion.InversionConfig(),
        cache: bool = True,
        progress: bool = False,
    ) -> Float[np.ndarray, "rows 512"]:
        """W+ code of an aligned face: the encoder's, or one found by optimisation and kept in the cache."""
        image = jnp.asarray(to_unit(aligned))[None]
        if self.networks.encoder is not None:
            return np.asarray(pipeline.encode(self.networks, image)[0])
        config = dataclasses.replace(config, size=min(config.size, self.generator.resolution))
        store = CodeCache(self.generator_hash, config)
        codes = store.load(aligned) if cache else None
        if codes is None:
            found = self._inverter(config)(image, progress=progress)
            codes = found.codes[0]
            if not np.isfinite(found.loss[0]):
                raise UserError("the inversion found no finite loss for this face; try other landmarks or more light")
            if cache:
                store.save(aligned, codes)
        return codes

    def edit(
        self,
        pixels: Pixels,
        strengths: Mapping[str, float],
        *,
        face: int | str = "largest",
        aligned: bool = False,
        landmarks: Float[np.ndarray, "n 2"] | None = None,
        user_mask: Float[np.ndarray, "_ _"] | None = None,
        config: EditConfig | None = None,
        inversion_config: inversion.InversionConfig = inversion.InversionConfig(),
        cache: bool = True,
        progress: bool = False,
    ) -> EditResult:
        """Edits a photograph.

        Args:
          pixels: [h, w, 3] uint8 or uint16 RGB, upright.
          strengths: attribute -> strength; 1 is one clear edit, negative undoes, 0 is nothing. Order matters little.
          face: "largest", "all", or the number of a face counted from 1, largest first.
          aligned: the picture already is an FFHQ crop (square).
          landmarks: points of one face in pixels, 5, 68 or 478, in the place of detection.
          user_mask: [h, w] in [0, 1]; by default the edit is confined to it.
          config: choices of this edit.
          inversion_config: settings of the inversion.
          cache: keep and reuse codes.
          progress: show a bar while inverting.

        Returns:
          An `EditResult`.

        Raises:
          UserError: unknown attribute, strength out of range, no face, mask of another size.
        """
        start = time.perf_counter()
        check_strengths(self.directions, strengths)
        if unknown := [name for name in strengths if name not in self.classes]:
            raise UserError(
                f"the classifier does not know {', '.join(unknown)}; train one with configs/diffcam_mobile.py or choose "
                f"from {', '.join(self.classes)}"
            )
        if user_mask is not None and user_mask.shape != pixels.shape[:2]:
            raise UserError(
                f"the mask has {user_mask.shape[::-1]} pixels, the photograph {pixels.shape[1::-1]}; give equal sizes"
            )
        config = config or self.config
        quads = self._quads(pixels, face, aligned, landmarks)
        found = time.perf_counter()
        image, touched, faces = pixels, np.zeros(pixels.shape[:2], bool), []
        for quad in quads:
            edit = self._edit_face(pixels, quad, strengths, user_mask, config, inversion_config, cache, progress)
            weight = align.photo_mask(edit.paste_mask, quad, *pixels.shape[:2])
            image = align.paste(image, edit.source, edit.paste_mask, quad)
            touched |= weight > 0
            faces.append(edit)
        report = {
            "strengths": dict(strengths),
            "size": [pixels.shape[1], pixels.shape[0]],
            "untouched_share": round(float(1 - touched.mean()), 6),
            "untouched_exact": bool((image == pixels).all(-1)[~touched].all()),
            "seconds": {"faces": round(found - start, 3), "total": round(time.perf_counter() - start, 3)},
            "faces": [edit.report for edit in faces],
            "versions": {"diffcam_jax": diffcam_jax.__version__, "jax": jax.__version__},
            "weights": {
                "generator": self.generator_hash,
                "classifier": self.classifier_hash,
                "encoder": self.encoder_hash,
                "deghoster": weights.tree_hash(self.networks.deghoster.variables) if self.networks.deghoster else "",
                "directions": {name: self.directions[name].sha256 for name in strengths},
            },
        }
        return EditResult(image, tuple(faces), report)

    def _quads(self, pixels, face, aligned: bool, landmarks) -> list[np.ndarray]:
        if aligned:
            return [align.frame_quad(*pixels.shape[:2])]
        if landmarks is not None:
            return [align.ffhq_quad(landmarks)]
        with FaceLandmarker() as landmarker:
            wanted = 1 if face == "largest" else 32 if face == "all" else int(face)
            faces = select_faces(landmarker.detect(pixels, wanted), face)
        return [align.ffhq_quad(found.points) for found in faces]

    def _edit_face(self, pixels, quad, strengths, user_mask, config, inversion_config, cache, progress) -> FaceEdit:
        size = self.generator.resolution
        config = dataclasses.replace(config, classifier_size=min(config.classifier_size, size))
        start = time.perf_counter()
        original = np.round(align.crop(pixels, quad, size) * 255).astype(np.uint8)
        cropped = time.perf_counter()
        codes = self.invert(original, inversion_config, cache, progress)
        inverted = time.perf_counter()
        small_mask = None
        if user_mask is not None:
            grey = np.repeat(np.round(user_mask * 255).astype(np.uint8)[..., None], 3, -1)
            small_mask = jnp.asarray(align.crop(grey, quad, size)[None, ..., 0])
        names = list(strengths)
        classes = np.array([self.classes.index(name) for name in names], np.int32)
        edit = edit_batch(
            self.generator,
            self.classifier,
            self.params,
            jnp.asarray(to_unit(original))[None],
            jnp.asarray(codes)[None],
            jnp.asarray(direction_matrix(self.directions, names, len(codes))),
            jnp.asarray([list(strengths.values())], jnp.float32),
            jnp.asarray(classes),
            config,
            small_mask,
            self.deghoster,
        )
        logits, mask = np.asarray(edit.logits[0]), np.asarray(edit.mask[0])
        report = {
            "mask_area": round(float((mask > 0).mean()), 6),
            "classifier": {
                name: {
                    "logits": {c: round(float(v), 3) for c, v in zip(self.classes, row)},
                    "agrees": bool(self.classes[int(row.argmax())] == name),
                }
                for name, row in zip(names, logits)
            },
            "seconds": {
                "align": round(cropped - start, 3),
                "invert": round(inverted - cropped, 3),
                "edit": round(time.perf_counter() - inverted, 3),
            },
        }
        return FaceEdit(
            aligned=original,
            inverted=from_unit(edit.inverted[0]),
            edited=from_unit(edit.edited[0]),
            fused=from_unit(edit.fused[0]),
            deghosted=None if edit.deghosted is None else from_unit(edit.deghosted[0]),
            source=np.asarray(edit.source[0]) / 2 + np.float32(0.5),
            mask=mask,
            paste_mask=np.asarray(edit.paste_mask[0]),
            latents=codes,
            edited_latents=np.asarray(edit.codes[0]),
            quad=quad,
            report=report,
        )
