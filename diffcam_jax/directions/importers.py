"""Edits from files and folders of every kind, among them those of other projects.

Other projects have `.npy` and `.pt` files, and boundaries of InterFaceGAN and idinvert. No file is
executed: NumPy files are read without pickles, dictionaries through a reader that knows arrays
only.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffcam_jax import formats
from diffcam_jax.directions import Direction, Edit, load_directions
from diffcam_jax.directions.acts import WHOLE, Acts, acts
from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.nn.conventions import WPLUS_ROWS

# 2 log2(s) - 2 rows for generators of 16 to 1024 pixels; idinvert's 14 x 512 boundaries belong to
# 256.
KNOWN_ROWS = (1, 6, 8, 10, 12, 14, 16, WPLUS_ROWS)
MAX_BYTES = 16 << 20
SHIPPED = "shipped"  # the source that means the directions of this package
FLOW = "styleflow"  # the kind of a flow's folder, and the source that means the one that ships
_SHIPPED_FLOW = Path(__file__).parent.parent / "data_files" / "styleflow_mobile"

Source = str | Path


def read_direction_array(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Reads the array of a direction file.

    Args:
        path: `.npy` with [18, 512], [1, 512] or [512] (a leading axis of 1 is accepted), an
            InterFaceGAN boundary `.npy` ([1, 512]), an idinvert boundary (a pickled dictionary of
            `boundary` and `meta_data`), or `.pt`/`.pth`.

    Returns:
        (array [rows, 512] or [1, 512] float32 as stored, half-open range of rows it acts on).

    Raises:
        UserError: the file is not a direction, or asks to run code.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .npy, .pt or boundary file")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(
            f"{path}: {path.stat().st_size >> 20} MiB is too large for a direction; expected "
            "18x512 numbers"
        )
    data = path.read_bytes()
    layers = ()
    try:
        if path.suffix in (".pt", ".pth"):
            content = formats.read_torch(data)
            array = next(iter(content.values())) if isinstance(content, dict) else content
        else:
            content = _read_numpy(data)
            if isinstance(content, dict):
                layers = content.get("meta_data", {}).get("manipulate_layers")
                layers = () if layers is None else sorted({int(layer) for layer in layers})
                content = content["boundary"]
            array = content
        array = np.asarray(array, np.float32)
        array = array.reshape(array.shape[-2:] if array.ndim > 1 else (1, -1))
    except (
        UserError,
        ValueError,
        KeyError,
        AttributeError,
        StopIteration,
        TypeError,
        EOFError,
    ) as error:
        raise UserError(
            f"{path}: not a direction file ({error}); expected an array of 18x512 or 1x512"
        ) from error
    if array.shape[1:] != (512,) or array.shape[0] not in KNOWN_ROWS:
        raise UserError(
            f"{path}: an array of shape {array.shape} is not a direction; expected 18x512 or "
            "1x512 numbers"
        )
    if not np.isfinite(array).all():
        raise UserError(f"{path}: some numbers are not finite; take an undamaged copy")
    if not layers:
        return array, (0, len(array))
    # Selected layers of a single row, which generators of any number of rows could use: repeat it
    # for the largest number.
    array = np.repeat(array, WPLUS_ROWS, 0) if len(array) == 1 else array
    if layers[0] < 0 or layers[-1] >= len(array):
        raise UserError(
            f"{path}: manipulate_layers {layers} lie outside the {len(array)} rows of the boundary"
        )
    keep = np.isin(np.arange(len(array)), layers)
    return array * keep[:, None], (layers[0], layers[-1] + 1)


def _read_numpy(data: bytes) -> np.ndarray | dict:
    """An array, or the dictionary that idinvert wraps into an object array or a bare pickle."""
    if data[:6] != b"\x93NUMPY":
        return formats.read_numpy_pickle(data)
    return formats.read_npy(data, formats.read_numpy_pickle)


def import_direction(
    path: Path,
    name: str,
    scale: float | None = None,
    norm: float | None = None,
    generator: str = "",
) -> Direction:
    """Turns a file into a `Direction`, whose region is that of `acts.acts` for its name.

    Args:
        path: see `read_direction_array`.
        name: attribute name.
        scale: strength 1 adds `scale` times the array as stored (InterFaceGAN: about 3).
        norm: strength 1 adds the array scaled to this Frobenius norm over all entries (Diff-CAM's
            files: 20, its alpha). Default, when neither is given: norm 20.
        generator: hash of the generator it belongs to, when known.
    """
    array, layers = read_direction_array(path)
    if scale is not None and norm is not None:
        raise UserError("give either a scale or a norm, not both")
    # A single row acts on every layer: its norm is that of the 18 rows to which the official code
    # adds it.
    length = float(np.linalg.norm(array)) * (WPLUS_ROWS**0.5 if len(array) == 1 else 1.0)
    if length == 0:
        raise UserError(f"{path}: the direction is zero everywhere")
    if scale is None:
        scale = (20.0 if norm is None else norm) / length
    where = acts(name) or Acts((), WHOLE)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return Direction(
        name=name,
        array=(array * scale).astype(np.float32),
        range=(-2.0, 2.0),
        layers=layers,
        generator=generator,
        normalisation=f"file array (Frobenius norm {length:.4g}) times {scale:.6g}",
        method=f"imported from {path.name} (sha256 {digest})",
        licence="as stated by its source",
        classes=where.classes,
        box=where.box,
    )


def import_folder(source: Path, norm: float = 20.0, generator: str = "") -> dict[str, Direction]:
    """Every direction file of a folder (or one file), by file name, in alphabetical order.

    The official code sorts them in the same way.

    Args:
        source: folder of .npy, .pt or .pth files, or one such file.
        norm: Frobenius norm that strength 1 adds; the official release multiplies a unit array by
            20.
        generator: hash of the generator they belong to, when known.

    Raises:
        UserError: there are no files, one is not a direction, or two have one name.
    """
    suffixes = (".npy", ".pt", ".pth")
    files = [source]
    if source.is_dir():  # copies from a Mac hold ._NAME beside every NAME
        files = sorted(p for p in source.iterdir() if p.suffix in suffixes and p.name[0] != ".")
    if not files or not all(path.is_file() for path in files):
        raise UserError(
            f"{source} holds no direction files; give a folder of {', '.join(suffixes)} files"
        )
    by_name: dict[str, Path] = {}
    for path in files:
        if path.stem in by_name:
            raise UserError(
                f"{by_name[path.stem]} and {path} would both be the direction {path.stem}; rename "
                "one of them"
            )
        by_name[path.stem] = path
    return {
        name: import_direction(path, name, norm=norm, generator=generator)
        for name, path in by_name.items()
    }


def read_directions(
    sources: Source | Sequence[Source] | Mapping[str, Edit] | None,
) -> Mapping[str, Edit]:
    """Directions and other edits by name.

    Args:
        sources: one or several files or folders of this project, folders of .npy files, folders of
            flows, "shipped" for the directions that ship, and "styleflow" for the flow that ships;
            or edits as they are, or None for the directions that ship.

    Raises:
        UserError: one of them holds none, or two have an edit of one name.
    """
    if isinstance(sources, Mapping):
        return sources
    if sources is None:
        return load_directions()
    several = [sources] if isinstance(sources, str | Path) else sources
    return together({str(source): _read(Path(source)) for source in several})


def together(sources: Mapping[str, Mapping[str, Edit]]) -> dict[str, Edit]:
    """The edits of several sources.

    Args:
        sources: edits by name, by what each source is called.

    Raises:
        UserError: two have an edit of one name.
    """
    found: dict[str, Edit] = {}
    origins: dict[str, str] = {}
    for source, edits in sources.items():
        for name, edit in edits.items():
            if name in found:
                raise UserError(
                    f"{origins[name]} and {source} both have a direction {name}; leave one of "
                    "them out, or import it under another name"
                )
            found[name], origins[name] = edit, source
    return found


def listed(text: str) -> list[str] | None:
    """The sources in a field of a configuration, separated by commas; None where it is empty."""
    return text.split(",") if text else None


def _read(path: Path) -> Mapping[str, Edit]:
    if str(path) == SHIPPED and not path.exists():
        return load_directions()
    flow = _SHIPPED_FLOW if str(path) == FLOW and not path.exists() else path
    if _kind(flow) == FLOW:
        from diffcam_jax.directions.flows import load_flow  # here: it comes with JAX

        return load_flow(flow)
    if (path / "model.safetensors").is_file():
        return load_directions(path / "model.safetensors")
    if path.is_dir() or path.suffix != ".safetensors":
        return import_folder(path)
    return load_directions(path)


def _kind(folder: Path) -> str | None:
    """The kind of a folder of networks; None where it is none, or a damaged one."""
    try:
        return decode((folder / "config.json").read_text())["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
