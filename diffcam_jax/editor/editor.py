"""`Editor`: photographs in, photographs out, around the pure `editing.edit_batch`.

editor = Editor.from_pretrained("ffhq")
result = editor.edit(pixels, {"smiling": 1.0, "old": 0.5})
result.image  # the whole photograph, same size and dtype; outside the mask the very same pixels
"""

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, UInt8, UInt16

import diffcam_jax
from diffcam_jax import inversion
from diffcam_jax.command.progress import Progress, tell
from diffcam_jax.directions import Edit, check_strengths, importers
from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.config import VARIANTS, EditConfig, check_method
from diffcam_jax.editing.pipeline import Pipeline, check, hashes
from diffcam_jax.editor import external_edit
from diffcam_jax.editor.codes import Coder
from diffcam_jax.editor.face_edit import FaceEditor
from diffcam_jax.editor.pasting import check_mask, crop_mask, paste_faces
from diffcam_jax.editor.results import EditResult
from diffcam_jax.editor.whole_edit import edit_whole
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.selection import find_quads
from diffcam_jax.files.domain import FACES, Domain
from diffcam_jax.files.domain import read as read_domain
from diffcam_jax.inversion.tuning import TuningSettings

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Directions = importers.Source | Sequence[importers.Source] | Mapping[str, Edit] | None

PRODUCT_CONFIG = VARIANTS["product"]


class Editor:
    """Edits photographs with one pipeline of networks.

    Attributes:
      networks: generator, encoder, classifier, deghosting network and alignment network.
      directions: name -> edit that can be asked for.
      config: default choices of an edit.
      faces: edits one aligned face.
    """

    def __init__(
        self,
        networks: Pipeline,
        directions: Directions = None,
        config: EditConfig = PRODUCT_CONFIG,
        method: str | None = None,
        domain: Domain = FACES,
    ) -> None:
        """Takes networks as they are.

        Args:
            networks: that edit together.
            directions: and other edits, by name or as files; see `importers.read_directions`.
            config: default choices of an edit.
            method: instead of `config.method`.
            domain: what kind of pictures they draw.

        Raises:
            UserError: networks and directions do not fit together, or cannot be used so.
        """
        method = method or config.method
        check_method(method, networks.aligner is not None)
        check(networks)
        self.config = dataclasses.replace(config, method=method)
        self.directions = checkpoints.fit_directions(
            importers.read_directions(directions), networks.generator
        )
        self.hashes = hashes(networks)
        self.networks = networks = jax.device_put(networks)
        self.generator, self.classes = networks.generator.module, networks.classifier.names
        self.domain = domain
        self.faces = FaceEditor(networks, self.directions, domain)
        self._coder = Coder(networks)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "ffhq",
        directions: Directions = None,
        config: EditConfig = PRODUCT_CONFIG,
        method: str | None = None,
    ) -> "Editor":
        """The embedded editor for faces, or that of a domain of your own.

        Parts of the embedded one that are missing in the cache are fetched once.

        Args:
            name: "ffhq", or a folder that `diffcam-domain` has made.
            directions: instead of those that ship; see `importers.read_directions`.
            config: default choices of an edit.
            method: instead of `config.method`.

        Raises:
            UserError: unknown name or method, or a part is neither cached nor can it be fetched.
        """
        if name == "ffhq":
            return cls.from_checkpoints(config, method=method, directions=directions)
        if not Path(name).is_dir():
            raise UserError(
                f"no pretrained editor is called {str(name)!r}; there is ffhq, and the folder of a "
                "domain of your own"
            )
        domain, places = read_domain(Path(name))
        own = places.pop("directions")
        given = {"method": method, "directions": directions or own, "domain": domain}
        return cls.from_checkpoints(config, **given, **places)

    @classmethod
    def from_checkpoints(
        cls,
        config: EditConfig = EditConfig(),
        *,
        method: str | None = None,
        directions: Directions = None,
        domain: Domain = FACES,
        **folders: str | Path | None,
    ) -> "Editor":
        """An editor from converted official checkpoints.

        By default it follows the official code (variant "official").

        Args:
            config: default choices of an edit.
            method: instead of `config.method`.
            directions: see `importers.read_directions`.
            domain: what kind of pictures they draw.
            **folders: generator, encoder, classifier, deghoster, aligner; see
                `checkpoints.resolve`.

        Raises:
            UserError: a folder lacks its network, or the networks do not fit together.
        """
        plan = checkpoints.resolve(**folders)
        check_method(method or config.method, plan.aligner is not None)  # before anything is loaded
        found = importers.read_directions(directions)
        return cls(checkpoints.load(plan), found, config, method, domain)

    def invert(
        self,
        aligned: UInt8[np.ndarray, "s s 3"],
        config: inversion.PriorSettings = inversion.PriorSettings(),
        refine: int = 0,
        cache: bool = True,
        progress: Progress = False,
    ) -> Float[np.ndarray, "rows 512"]:
        """The W+ code of an aligned face; arguments and errors are those of `codes.Coder`."""
        return self._coder(aligned, config, refine, cache, progress)

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
        inversion_config: inversion.PriorSettings = inversion.PriorSettings(),
        refine: int = 0,
        tune: int | None = None,
        raw_strength: bool = False,
        deghost: bool = True,
        cache: bool = True,
        progress: Progress = False,
    ) -> EditResult:
        """Edits a photograph.

        Args:
          pixels: [h, w, 3] uint8 or uint16 RGB, upright.
          strengths: attribute -> strength; 1 is the attribute's usual move, negative undoes, 0 is
            nothing. Order matters little.
          face: "largest", "all", or the number of a face counted from 1, largest first.
          aligned: the picture already is an FFHQ crop (square).
          landmarks: points of one face in pixels, 5, 68 or 478, in the place of detection.
          user_mask: [h, w] in [0, 1]; by default the edit is confined to it.
          config: choices of this edit.
          inversion_config: see `invert`.
          refine: see `invert`.
          tune: steps of pivotal tuning (`inversion.tuning`); 0 edits with the generator as it is,
            None takes the domain's number. Only with a `config.window`.
          raw_strength: take strengths as lengths of the direction's array, without measuring the
            result.
          deghost: without a `config.window` let the deghosting network, where there is one, have
            the last word.
          cache: keep and reuse codes and tuned numbers.
          progress: show bars while inverting and tuning, or who is told of every stage.

        Returns:
          An `EditResult`.

        Raises:
          UserError: unknown attribute, strength out of range, no face, mask of another size, no
            network for the method.
        """
        start = time.perf_counter()
        config = config or self.config
        check_method(config.method, self.networks.aligner is not None)
        check_strengths(self.directions, strengths)
        if config.method != "invertibility":
            self.check_classes(strengths)
        check_mask(user_mask, pixels)
        self._coder.check_refine(refine)
        tune = self.domain.tune if tune is None else tune
        if tune < 0:
            raise UserError(f"tune={tune}: give 0 steps or more")
        tuning = TuningSettings().with_steps(tune) if tune else None
        tell(progress, "find faces")
        networks = self.networks if deghost else self.networks.replace(deghoster=None)
        quads = self._find(pixels, face, aligned, landmarks)
        found = time.perf_counter()
        faces = []
        for number, quad in enumerate(quads):
            tell(progress, "face", number, len(quads))
            begun = time.perf_counter()
            original = self.crop(pixels, quad)
            cropped = time.perf_counter()
            tell(progress, "invert")
            codes = self.invert(original, inversion_config, refine, cache, progress)
            inverted = time.perf_counter()
            side = self.generator.resolution
            mask = None if user_mask is None else crop_mask(user_mask, quad, side, self.domain)
            if config.window is not None and config.method != "invertibility":
                given = original, codes, quad, strengths, config, tuning
                edit = self.faces(*given, raw_strength, mask, cache, progress)
            else:
                given = original, codes, quad, strengths, self.directions, config, mask
                edit = edit_whole(networks, *given, self.domain)
            edit.report["seconds"] = {
                "align": round(cropped - begun, 3),
                "invert": round(inverted - cropped, 3),
                **edit.report["seconds"],
                "edit": round(time.perf_counter() - inverted, 3),
            }
            faces.append(edit)
        image, untouched = paste_faces(pixels, faces, self.domain.beyond)
        report = {
            "strengths": dict(strengths),
            "method": config.method,
            "refine": refine,
            "tune": tune,
            **untouched,
            "seconds": {
                "faces": round(found - start, 3),
                "total": round(time.perf_counter() - start, 3),
            },
            "faces": [edit.report for edit in faces],
            "versions": {"diffcam_jax": diffcam_jax.__version__, "jax": jax.__version__},
            "weights": {
                **self.hashes,
                "directions": {name: self.directions[name].sha256 for name in strengths},
            },
        }
        return EditResult(image, tuple(faces), report)

    def blend(
        self,
        pixels: Pixels,
        edited: external_edit.Pixels,
        names: Sequence[str] = (),
        *,
        face: int | str = "largest",
        aligned: bool = False,
        landmarks: Float[np.ndarray, "n 2"] | None = None,
        user_mask: Float[np.ndarray, "_ _"] | None = None,
        config: EditConfig | None = None,
    ) -> EditResult:
        """Takes an edit that another program made into the photograph, and nothing else of it.

        Args:
          pixels: the photograph, see `edit`.
          edited: the other program's picture, uint8 or uint16 RGB of any size: the whole photograph
            or a crop of the face, scaled, shifted, compressed or tinted as it may be.
          names: the attributes that were edited; none takes whatever was changed on the head.
          face: see `edit`.
          aligned: see `edit`; of the photograph, not of the edited picture.
          landmarks: see `edit`.
          user_mask: see `edit`.
          config: choices of this edit; of the product's variant.

        Returns:
          An `EditResult`. Its aligned pictures are as large as the face in the photograph, and
          there are no codes.

        Raises:
          UserError: unknown attribute, no face, mask of another size, or the edited picture is not
            one of this photograph (see `faces.registration.register`).
        """
        find = functools.partial(self._find, pixels, face, aligned, landmarks)
        config = config or self.config
        given = self.faces, pixels, edited, names, find, config, user_mask, self.hashes
        return external_edit.blend(*given)

    def _find(self, pixels: Pixels, face: int | str, aligned: bool, landmarks) -> list[np.ndarray]:
        """The squares to edit, see `selection.find_quads`."""
        return find_quads(pixels, face, aligned, landmarks, self.domain)

    def check_classes(self, names: Iterable[str]) -> None:
        """Whether the classifier knows attributes.

        Raises:
            UserError: it does not.
        """
        if unknown := [name for name in names if name not in self.classes]:
            raise UserError(
                f"the classifier does not know {', '.join(unknown)}; train one with "
                "configs/diffcam_mobile.py or choose "
                f"from {', '.join(self.classes)}"
            )

    def crop(self, pixels: Pixels, quad: Float[np.ndarray, "4 2"]) -> UInt8[np.ndarray, "s s 3"]:
        """The aligned picture at a square, as large as the generator's; see `align.crop`."""
        face = align.crop(pixels, quad, self.generator.resolution, self.domain.beyond)
        return np.round(face * 255).astype(np.uint8)
