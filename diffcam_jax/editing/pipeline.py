"""Which networks edit together: generator, encoder, classifier, deghosting and alignment network,
directions, and whether they fit.

Networks combine freely as long as their W+ codes have the same number of rows: a generator of side
s reads 2 log2(s) - 2 of them, 18 at 1024. What does not fit is refused in one line before anything
is computed.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffcam_jax.directions import Direction, load_directions
from diffcam_jax.directions.importers import import_folder
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing.decomposition import (
    Modules,
    Settings,
    aligner_for,
    check_networks,
    settings_of,
)
from diffcam_jax.editing.diffcam import Classifier, classifier_from_folder, load_classifier
from diffcam_jax.editing.edit import Decomposer, EditParams
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.model_folder import ModelFolder, Network, load
from diffcam_jax.inversion import encoding
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.pretrained import store

# Folders of networks that come with this package, for the embedded generator.
ENCODER, DEGHOSTER, ALIGNER = "encoder_mobile", "deghoster_mobile", "aligner_mobile"
_SHIPPED = Path(__file__).parent.parent / "data_files"


class Masker(NamedTuple):
    """A trained alignment network, which finds what is out of the generator's domain.

    Attributes:
      network: an `Aligner`, between the generator's features and the encoder's maps.
      settings: how it uses the encoder.
      generator, encoder: hashes of the networks that it was trained between, `generator_hash` and
        `trees.tree_hash` of the variables; "" where that is not known.
    """

    network: Network
    settings: Settings
    generator: str = ""
    encoder: str = ""


class Pipeline(NamedTuple):
    """Everything an `Editor` needs; encoder, deghoster and aligner may be absent."""

    generator: Network
    classifier: Classifier
    directions: Mapping[str, Direction]
    encoder: encoding.Encoder | None = None
    deghoster: Network | None = None
    aligner: Masker | None = None


@functools.cache
def shipped(name: str) -> ModelFolder | None:
    """A folder of networks that comes with this package.

    None where this version has none of that name.

    Args:
      name: `ENCODER`, `DEGHOSTER` or `ALIGNER`.

    Raises:
      UserError: its files are damaged.
    """
    folder = _SHIPPED / name
    return load(folder) if (folder / "config.json").is_file() else None


def is_embedded(generator: str | Path | None, encoder: str | Path | None) -> bool:
    """Whether `from_checkpoints` takes the embedded generator with these folders: none is given,
    nor brought by the encoder's.
    """
    if generator is None and encoder is not None:
        try:
            return (
                "generator"
                not in json.loads((Path(encoder) / "config.json").read_text())["networks"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return True  # opening it says what is wrong
    return generator is None


def has_encoder(generator: str | Path | None, encoder: str | Path | None) -> bool:
    """Whether `from_checkpoints` finds an encoder with these folders.

    A generator of one's own comes without.

    Raises:
      UserError: see `shipped`.
    """
    return encoder is not None or (generator is None and shipped(ENCODER) is not None)


def has_aligner(
    generator: str | Path | None, encoder: str | Path | None, aligner: str | Path | None
) -> bool:
    """Whether `from_checkpoints` finds an alignment network with these folders: one that ships is
    for the networks that ship.

    Raises:
      UserError: see `shipped`.
    """
    return aligner is not None or (
        generator is None and encoder is None and _shipped_aligner() is not None
    )


def from_checkpoints(
    generator: str | Path | None = None,
    encoder: str | Path | None = None,
    classifier: str | Path | None = None,
    deghoster: str | Path | None = None,
    directions: str | Path | Mapping[str, Direction] | None = None,
    aligner: str | Path | None = None,
) -> Pipeline:
    """Networks from converted folders, the embedded ones in the place of those that are not given.

    Args:
      generator: folder with a generator; by default the one in the encoder's folder, else the
        embedded one.
      encoder: folder with an encoder; by default the one that comes with the embedded generator.
        Without one, codes are found by optimisation.
      classifier: folder, or a file written by training.
      deghoster: folder; by default the one that comes with the embedded generator. Without one the
        blend of Eq. 5 is the result.
      directions: directions by name, a file or folder of this project, or a folder of .npy files.
      aligner: folder; by default the one that comes with the embedded generator and its encoder.
        Without one there are no methods "invertibility" and "both".

    Raises:
      UserError: a folder lacks the network, or the networks do not fit together.
    """
    _require_encoder(aligner is None or has_encoder(generator, encoder))
    encoder_folder = None if encoder is None else pretrained.load(encoder)
    deghoster_folder = None if deghoster is None else pretrained.load(deghoster)
    aligner_folder = pretrained.load(aligner) if aligner is not None else None
    if generator is not None:
        drawing = pretrained.load(generator).network("generator")
    elif encoder_folder is not None and "generator" in encoder_folder.networks:
        drawing = encoder_folder.network("generator")
    else:
        params, _ = store.load_pretrained("mobile_stylegan_ffhq")
        drawing = Network(MobileStyleGAN(), {"params": params})
        if encoder is None:
            encoder_folder, aligner_folder = shipped(ENCODER), aligner_folder or _shipped_aligner()
        deghoster_folder = deghoster_folder or shipped(DEGHOSTER)
    if classifier is None:
        judge = load_classifier()
    else:
        path = Path(classifier)
        judge = (
            classifier_from_folder(pretrained.load(path))
            if path.is_dir()
            else load_classifier(path)
        )
    reader = (
        None
        if encoder_folder is None
        else encoding.encoder_of(encoder_folder, wplus_rows(drawing.module))
    )
    pipeline = Pipeline(
        generator=drawing,
        classifier=judge,
        directions=read_directions(directions),
        encoder=reader,
        deghoster=None if deghoster_folder is None else deghoster_folder.network("deghoster"),
        aligner=None if aligner_folder is None else _masker(aligner_folder, reader),
    )
    check(pipeline)
    return fitted(pipeline)


def fitted(pipeline: Pipeline) -> Pipeline:
    """The same with one row in each direction for every row of the generator's codes.

    Raises:
      UserError: a direction is another generator's.
    """
    generator = pipeline.generator.module
    rows, size = wplus_rows(generator), generator.latent_size
    return pipeline._replace(
        directions={n: d.fitted(rows, size) for n, d in pipeline.directions.items()}
    )


def read_directions(source: str | Path | Mapping[str, Direction] | None) -> Mapping[str, Direction]:
    """Directions by name, from a file or folder of this project, a folder of .npy files, or None
    for the shipped ones.
    """
    if source is None or isinstance(source, Mapping):
        return load_directions() if source is None else source
    path = Path(source)
    if (path / "model.safetensors").is_file():
        return load_directions(path / "model.safetensors")
    return (
        import_folder(path)
        if path.is_dir() or path.suffix != ".safetensors"
        else load_directions(path)
    )


def _masker(folder: ModelFolder, encoder: encoding.Encoder) -> Masker:
    network, config = folder.network("aligner"), folder.config
    settings = settings_of(encoder.network.module, network.module.sides)
    return Masker(
        network, settings, config.get("generator_sha256", ""), config.get("encoder_sha256", "")
    )


def _shipped_aligner() -> ModelFolder | None:
    return shipped(ALIGNER) if shipped(ENCODER) is not None else None


def _require_encoder(found: bool) -> None:
    if not found:
        raise UserError(
            "an alignment network compares with an encoder's maps; give the encoder that it was "
            "trained with, too"
        )


def check(pipeline: Pipeline) -> None:
    """Whether the networks fit together.

    Raises:
      UserError: says which two do not, and what each has.
    """
    generator, rows = pipeline.generator.module, wplus_rows(pipeline.generator.module)
    size = generator.resolution
    if pipeline.encoder is not None:
        if pipeline.encoder.rows != rows:
            raise UserError(
                f"the encoder gives {pipeline.encoder.rows} rows of W+, the generator of {size} "
                f"pixels reads {rows}; "
                f"take an encoder and a generator of the same resolution"
            )
        if pipeline.encoder.latent_avg.ndim == 2 and len(pipeline.encoder.latent_avg) not in (
            1,
            rows,
        ):
            raise UserError(
                f"latent_avg has {len(pipeline.encoder.latent_avg)} rows, the codes {rows}; "
                "convert again"
            )
    if pipeline.deghoster is not None and pipeline.deghoster.module.out_size != size:
        raise UserError(
            f"the deghosting network draws {pipeline.deghoster.module.out_size} pixels, the "
            f"generator {size}; "
            f"take two of the same size"
        )
    digest = generator_hash(pipeline.generator)
    if pipeline.deghoster is not None and getattr(pipeline.deghoster.module, "prior", "") not in (
        "",
        digest,
    ):
        raise UserError(
            "the deghosting network was trained around another generator; give the two that "
            "belong together"
        )
    foreign = [n for n, d in pipeline.directions.items() if d.generator and d.generator != digest]
    if foreign:
        raise UserError(
            f"directions {', '.join(foreign)} were made for another generator; give --directions "
            "with those of this "
            f"one (a folder of .npy files), or fit them"
        )
    if pipeline.aligner is not None:
        _check_aligner(pipeline, digest)
    fitted(pipeline)


def _check_aligner(pipeline: Pipeline, digest: str) -> None:
    """Whether the alignment network was trained between these networks or, where that is not known,
    has their channels.
    """
    _require_encoder(pipeline.encoder is not None)
    masker, encoder = pipeline.aligner, pipeline.encoder.network
    modules = Modules(pipeline.generator.module, encoder.module, masker.network.module)
    check_networks(modules)
    if masker.generator not in ("", digest):
        raise UserError(
            "the alignment network was trained with another generator; give the two that belong "
            "together"
        )
    if masker.encoder:
        if masker.encoder != trees.tree_hash(encoder.variables):
            raise UserError(
                "the alignment network was trained with another encoder; give the two that "
                "belong together"
            )
        return  # the encoder's maps need not be traced, which takes a second
    fitting = aligner_for(
        modules.generator, modules.encoder, masker.settings, sides=modules.aligner.sides
    )
    if fitting.inputs != tuple(modules.aligner.inputs):
        raise UserError(
            f"the alignment network reads maps of {tuple(modules.aligner.inputs)} channels, "
            f"{type(modules.encoder).__name__} has {fitting.inputs}; use the encoder that it was "
            "trained with"
        )


def on_device(pipeline: Pipeline) -> Pipeline:
    """The same networks with their arrays where they are used, so that no second copy of them is
    kept or made.
    """

    def moved(network: Network) -> Network:
        return Network(network.module, jax.device_put(network.variables))

    encoder, classifier, aligner = pipeline.encoder, pipeline.classifier, pipeline.aligner
    return pipeline._replace(
        generator=moved(pipeline.generator),
        classifier=classifier._replace(variables=jax.device_put(classifier.variables)),
        encoder=None if encoder is None else encoder._replace(network=moved(encoder.network)),
        deghoster=None if pipeline.deghoster is None else moved(pipeline.deghoster),
        aligner=None if aligner is None else aligner._replace(network=moved(aligner.network)),
    )


def inputs(pipeline: Pipeline) -> tuple[EditParams, Decomposer | None]:
    """A pipeline as `editing.edit_batch` takes it; no decomposer without an alignment network."""
    encoder, aligner = pipeline.encoder, pipeline.aligner
    deghoster = None if pipeline.deghoster is None else pipeline.deghoster.variables
    params = EditParams(pipeline.generator.variables, pipeline.classifier.variables, deghoster)
    if aligner is None:
        return params, None
    average = jnp.asarray(encoder.latent_avg)
    params = params._replace(
        encoder=encoder.network.variables, aligner=aligner.network.variables, latent_avg=average
    )
    return params, Decomposer(encoder.network.module, aligner.network.module, aligner.settings)


def encode(pipeline: Pipeline, images: jax.Array) -> jax.Array:
    """W+ codes [b, n, 512] of aligned pictures [b, s, s, 3] in [-1, 1], by the pipeline's encoder.

    Raises:
      UserError: there is none.
    """
    if pipeline.encoder is None:
        raise UserError("this pipeline has no encoder; invert by optimisation")
    return encoding.read(pipeline.generator, pipeline.encoder, images)
