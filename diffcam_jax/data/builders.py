"""Datasets of pictures in the layout of TensorFlow Datasets, without TensorFlow.

    DIR/pictures/NAME/1.0.0/*.array_record-*    the examples
                            recipe.json         how the dataset was made, counts, names of the
                                                labels, "sha256" of all names, pictures and labels
                            errors.json         file -> why it was left out

Each example holds "image" (WebP, lossless; uint8 RGB [s, s, 3] when read) and "name"; some hold
"target" (a picture as well), "label" (int64, or int64 [n] with 0 and 1 for n attributes) and "code"
(float32 [rows, k]). Lossless WebP takes a fifth less space than PNG and is read 1.5 times as fast.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from diffcam_jax.data.pictures import Records
from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.formats.array_pickle import reason

VERSION = "1.0.0"
_FEATURES = "tensorflow_datasets.core.features."
RECIPE, ERRORS = "recipe.json", "errors.json"


class Shard(NamedTuple):
    """A finished file of examples.

    Attributes:
        path: of the file.
        count: of its examples.
    """

    path: Path
    count: int


def make_features(
    size: int,
    paired: bool = False,
    label_names: Sequence[str] = (),
    several: bool = False,
    code_shape: tuple[int, int] | None = None,
) -> tfds.features.FeaturesDict:
    """Describes the contents of examples.

    Args:
        size: side of the pictures.
        paired: whether there are targets.
        label_names: of the classes or attributes; none without labels.
        several: whether a label is a 0 or a 1 for each name.
        code_shape: rows and columns of the W+ codes of drawn pictures; None for others.
    """
    picture = tfds.features.Image(shape=(size, size, 3))
    features: dict[str, Any] = {"image": picture, "name": tfds.features.Text()}
    if paired:
        features["target"] = picture
    if label_names:
        one = tfds.features.ClassLabel(names=list(label_names))
        features["label"] = (
            tfds.features.Tensor(shape=(len(label_names),), dtype=np.int64) if several else one
        )
    if code_shape is not None:
        features["code"] = tfds.features.Tensor(shape=code_shape, dtype=np.float32)
    return tfds.features.FeaturesDict(features)


def encode(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encodes a picture as lossless WebP, by the fastest of its methods."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    return buffer.getvalue()


def serialise(features: tfds.features.FeaturesDict, example: Mapping[str, Any]) -> bytes:
    """Serialises an example, to the same bytes in every process.

    Left to itself, the order of a message's fields is another one in each process.
    """
    message = tf_example_pb2.Example.FromString(features.serialize_example(example))
    return message.SerializeToString(deterministic=True)


class _Info(tfds.core.DatasetInfo):
    """A description that nobody is asked for: these pictures are known here only."""

    def initialize_from_bucket(self) -> None:
        """Does nothing; else every preparation would leave a folder among the temporary files."""


class Pictures(tfds.core.ShardBasedBuilder):
    """Makes a dataset of finished shards, so that writing them can be interrupted.

    Args:
        folder: of all datasets.
        name: of this one.
        features: from `make_features`.
        shards: split -> files of serialised examples; they stay where they are.
    """

    VERSION = tfds.core.Version(VERSION)
    # Nothing is downloaded, and looking for checksums needs a package that may be missing.
    url_infos = None

    def __init__(
        self,
        folder: Path,
        name: str,
        features: tfds.features.FeaturesDict,
        shards: Mapping[str, Sequence[Shard]],
    ) -> None:
        self._features, self._shards = features, shards
        self._waiting: list[Shard] = []
        super().__init__(
            data_dir=folder, config=tfds.core.BuilderConfig(name=name), file_format="array_record"
        )

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(builder=self, description="Square pictures.", features=self._features)

    def _shard_iterators_per_split(
        self, dl_manager: Any
    ) -> Mapping[str, Sequence[Callable[[], Iterator]]]:
        """Returns placeholders that are counted, not serialised: whole files are taken over."""
        self._waiting = [shard for shards in self._shards.values() for shard in shards]
        return {
            split: [
                lambda count=shard.count: ((number, None) for number in range(count))
                for shard in shards
            ]
            for split, shards in self._shards.items()
        }

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _TakeOver(self)

    def next_shard(self) -> Path:
        """Returns the next finished file; the order is that of `_shard_iterators_per_split`."""
        return self._waiting.pop(0).path


class _TakeOver(tfds.core.ExampleWriter):
    """Takes over a finished file instead of writing one."""

    def __init__(self, builder: Pictures) -> None:
        super().__init__(tfds.core.FileFormat.ARRAY_RECORD)
        self._builder = builder

    def write(self, path: Any, examples: Any) -> None:
        shard = self._builder.next_shard()
        try:
            os.link(shard, os.fspath(path))
        except OSError:  # not every file system has hard links
            shutil.copyfile(shard, os.fspath(path))


class Prepared(NamedTuple):
    """A prepared dataset.

    Attributes:
        folder: DIR/pictures/NAME/1.0.0.
        recipe: the content of recipe.json.
        splits: "train" and, unless it is empty, "test": random access lists of examples.
    """

    folder: Path
    recipe: dict[str, Any]
    splits: dict[str, Records]


def dataset_folder(folder: str | os.PathLike[str], name: str) -> Path:
    """Returns the folder of a dataset, whether it exists or not."""
    return Path(folder) / "pictures" / name / VERSION


def open_prepared(folder: str | os.PathLike[str], name: str = "") -> Prepared:
    """Opens a dataset.

    Args:
        folder: of all datasets; without a name the folder of the dataset itself.
        name: of the dataset.

    Raises:
        UserError: there is none, or it is damaged.
    """
    place = dataset_folder(folder, name) if name else Path(folder)
    if not (place / RECIPE).is_file():
        near = sorted(
            path.parent.parent.name for path in Path(folder).glob(f"pictures/*/{VERSION}/{RECIPE}")
        )
        there = f"there are {', '.join(near)}" if near else "there is none"
        raise UserError(
            f"no prepared dataset {name or place} in {folder} ({there}); make it with python -m "
            "diffcam_jax.data prepare"
        )
    try:
        recipe = decode((place / RECIPE).read_text())
        _check_classes(decode((place / "features.json").read_text()))
        builder = tfds.builder_from_directory(place)
        splits = {split: builder.as_data_source(split) for split in builder.info.splits}
        if any(len(splits[split]) != count for split, count in recipe["counts"].items() if count):
            raise ValueError("counts differ")
        if not isinstance(recipe["name"] + recipe["sha256"], str) or recipe["size"] < 1:
            raise ValueError("its recipe is not one")
    except Exception as error:  # TensorFlow Datasets ends damaged files in nearly any exception
        raise _damaged(place, error) from error
    return Prepared(
        place, recipe, {name: _Examples(place, found) for name, found in splits.items()}
    )


class _Examples(Sequence[dict[str, Any]]):
    """The examples of a split, read on demand."""

    def __init__(self, place: Path, stored: Records) -> None:
        self._place, self._stored = place, stored

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return self._stored[index]
        except Exception as error:  # as above
            raise _damaged(self._place, error) from error


def _check_classes(features: Any) -> None:
    """Refuses foreign classes: TensorFlow Datasets imports whatever module features name."""
    named = features if isinstance(features, dict) else {}
    for key in ("pythonClassName", "python_class_name", "type"):  # the last is that of old files
        name = named.get(key, _FEATURES)
        if isinstance(name, str) and not name.startswith(_FEATURES):
            raise ValueError(f"its features are of the class {name}")
    for key, part in named.items():
        _check_classes(decode(part) if key == "json" and isinstance(part, str) else part)
    for part in features if isinstance(features, list) else ():
        _check_classes(part)


def _damaged(place: Path, error: Exception) -> UserError:
    return UserError(
        f"the dataset in {place} is damaged ({reason(error)}); delete that folder and prepare it "
        "again"
    )
