"""Which networks an edit will have: folders of checkpoints, and the embedded ones for the rest.

`resolve` reads each folder's config.json once and decides; nothing heavy is loaded, so that a
command can refuse what cannot be done within a fraction of a second. `load` then opens what was
decided.
"""

import dataclasses
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diffcam_jax.directions import Edit
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing.alignment import settings_of
from diffcam_jax.editing.classifier import Classifier, classifier_from_folder, load_classifier
from diffcam_jax.editing.pipeline import AlignmentNetwork, Pipeline, check, require_encoder
from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.files.model_folder import load as open_folder
from diffcam_jax.inversion.encoding import Encoder, encoder_of
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import networks as pretrained

# Folders of networks that come with this package, for the embedded generator.
ENCODER, DEGHOSTER, ALIGNER = "encoder_mobile", "deghoster_mobile", "aligner_mobile"
EMBEDDED = "mobile_stylegan_ffhq"
ROLES = ("generator", "encoder", "classifier", "deghoster", "aligner")
_SHIPPED = Path(__file__).parent.parent / "data_files"


@functools.cache
def shipped(name: str) -> ModelFolder | None:
    """A folder of networks that comes with this package.

    Args:
        name: `ENCODER`, `DEGHOSTER` or `ALIGNER`.

    Returns:
        None where this version has none of that name.

    Raises:
        UserError: its files are damaged.
    """
    return open_folder(_SHIPPED / name) if _ships(name) else None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where each network comes from.

    Attributes:
        generator: a folder; None is the embedded generator.
        encoder: a folder, `ENCODER` for the one that ships, None for none.
        classifier: a folder or file; None is the one that ships.
        deghoster: a folder, `DEGHOSTER` for the one that ships, None for none.
        aligner: a folder, `ALIGNER` for the one that ships, None for none.
        chosen: class that a conditional generator draws; None for none.
    """

    generator: Path | None
    encoder: Path | str | None
    classifier: Path | None
    deghoster: Path | str | None
    aligner: Path | str | None
    chosen: int | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded generator draws."""
        return self.generator is None


def resolve(
    generator: str | Path | None = None,
    encoder: str | Path | None = None,
    classifier: str | Path | None = None,
    deghoster: str | Path | None = None,
    aligner: str | Path | None = None,
    chosen: str | None = None,
) -> Plan:
    """Decides where each network comes from; what is not given is the embedded part, if it fits.

    Args:
        generator: folder; by default the encoder's own where it has one, else the embedded one.
        encoder: folder; by default the one that comes with the embedded generator. A generator of
            one's own has none: codes are then found by optimisation.
        classifier: folder, or a file written by training.
        deghoster: folder; by default the one that comes with the embedded generator.
        aligner: folder; by default the one that comes with the embedded generator and encoder.
        chosen: number of the class that a conditional generator draws where codes are sampled.

    Raises:
        UserError: an alignment network without an encoder, or a class that is no number.
    """
    if chosen is not None and not chosen.isdecimal():
        raise UserError(f"--class {chosen}: give the number of a class, from 0 on")
    paths = [None if x is None else Path(x) for x in (generator, encoder, classifier)]
    generator, encoder, classifier = paths
    if generator is None and encoder is not None and _holds_generator(encoder):
        generator = encoder
    embedded = generator is None
    own = embedded and encoder is None
    found = encoder or (ENCODER if own and _ships(ENCODER) else None)
    ours = ALIGNER if own and found and _ships(ALIGNER) else None
    deghosting = DEGHOSTER if embedded and _ships(DEGHOSTER) else None
    require_encoder(aligner is None or found is not None)
    return Plan(
        generator=generator,
        encoder=found,
        classifier=classifier,
        deghoster=Path(deghoster) if deghoster else deghosting,
        aligner=Path(aligner) if aligner else ours,
        chosen=None if chosen is None else int(chosen),
    )


def load(plan: Plan) -> Pipeline:
    """Opens the networks of a plan.

    Raises:
        UserError: a folder lacks its network, or the networks do not fit together.
    """
    with ThreadPoolExecutor() as pool:  # reading and checking leave Python to the other threads
        classifier = pool.submit(_classifier, plan.classifier)
        sources = plan.generator or EMBEDDED, plan.encoder, plan.deghoster, plan.aligner
        folders = pool.map(lambda source: None if source is None else _open(source), sources)
        drawing, encoding, deghosting, aligning = folders
    generator = _of_class(drawing.network("generator"), plan.chosen)
    encoder = encoding and encoder_of(encoding, wplus_rows(generator.module))
    pipeline = Pipeline(
        generator=generator,
        classifier=classifier.result(),
        encoder=encoder,
        deghoster=deghosting and deghosting.network("deghoster"),
        aligner=aligning and _aligner(aligning, encoder),
    )
    check(pipeline)
    return pipeline


def _of_class(generator: Network, chosen: int | None) -> Network:
    """The generator, to draw a class where codes are sampled."""
    if chosen is None:
        return generator
    classes = getattr(generator.module, "num_classes", 0)
    if chosen >= classes:
        advice = f"give a number from 0 to {classes - 1}" if classes else "leave the class out"
        raise UserError(f"--class {chosen}: the generator has {classes or 'no'} classes; {advice}")
    return generator.replace(module=generator.module.clone(chosen=chosen))


def from_checkpoints(**folders: str | Path | None) -> Pipeline:
    """The networks of converted folders, with the embedded ones for those that are not given.

    Args:
        **folders: by role, see `resolve`.

    Raises:
        UserError: see `resolve` and `load`.
    """
    return load(resolve(**folders))


def fit_directions(directions: Mapping[str, Edit], generator: Network) -> dict[str, Edit]:
    """The same edits, fitted to the rows of a generator's codes.

    Args:
        directions: and other edits, by name.
        generator: that they are to move.

    Raises:
        UserError: a direction is another generator's.
    """
    digest, module = generator_hash(generator), generator.module
    foreign = [n for n, d in directions.items() if d.generator and d.generator != digest]
    if foreign:
        raise UserError(
            f"directions {', '.join(foreign)} were made for another generator; give --directions "
            "with those of this one (a file, a flow, a folder of .npy files), or fit them"
        )
    rows, size = wplus_rows(module), module.latent_size
    return {name: direction.fitted(rows, size) for name, direction in directions.items()}


def _ships(name: str) -> bool:
    return (_SHIPPED / name / "config.json").is_file()


def _holds_generator(folder: Path) -> bool:
    try:
        return "generator" in decode((folder / "config.json").read_text())["networks"]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # opening it says what is wrong


def _open(source: Path | str) -> ModelFolder | None:
    if source in (ENCODER, DEGHOSTER, ALIGNER):
        return shipped(str(source))
    return pretrained.load(source)


def _classifier(source: Path | None) -> Classifier:
    if source is not None and source.is_dir():
        return classifier_from_folder(pretrained.load(source))
    return load_classifier(source)


def _aligner(folder: ModelFolder, encoder: Encoder) -> AlignmentNetwork:
    network, config = folder.network("aligner"), folder.config
    settings = settings_of(encoder.network.module, network.module.sides)
    hashes = config.get("generator_sha256", ""), config.get("encoder_sha256", "")
    return AlignmentNetwork(network, settings, *hashes)
