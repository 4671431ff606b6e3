"""Imports point one way, nothing heavy comes with the package, and files stay short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from diffcam_jax.pretrained.parts import PARTS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "diffcam_jax"

# Later entries may import earlier ones, never the other way round.
LEVELS = [
    "errors",
    "ops",
    "nn",
    "files",
    "formats",
    "pretrained",
    "command",
    "losses",
    "faces",
    "metrics",
    "directions",
    "inversion",
    "editing",
    "editor",
    "video",
    "service",
    "data",
    "applications",
    "train",
    "evaluation",
    "domain",
    "programs",
]
HEAVY = {
    "torch",
    "tensorflow",
    "gradio",
    "cv2",
    "mediapipe",
    "onnxruntime",
    "sklearn",
    "matplotlib",
    "av",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Second components of every `diffcam_jax.X` import anywhere in a file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "diffcam_jax":
            names |= {alias.name for alias in node.names}
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("diffcam_jax.")
        ):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("diffcam_jax.")}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    level = {name: i for i, name in enumerate(LEVELS)}
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        assert not imported(path)
        return
    for name in imported(path) - {own, "__version__"}:
        assert level[name] <= level[own], f"{own} must not import {name}"


def test_no_module_imports_itself_by_way_of_others():
    """Not even inside of functions; depth first, a module on the path being a circle."""
    names = {dotted(path): path for path in modules()}
    edges = {name: imported_modules(path, names) - {name} for name, path in names.items()}
    done = set()

    def follow(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in edges[name]:
                follow(other, [*path, name])
            done.add(name)

    for name in edges:
        follow(name, [])


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported_modules(path: Path, names: dict[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {part if part in names else node.module for part in parts}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & set(names)) - {"diffcam_jax"}


def test_every_module_has_a_level():
    names = {
        p.name.removesuffix(".py")
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert names - {"__init__"} == set(LEVELS)


def test_configs_import_nothing_of_ours():
    for path in (ROOT / "configs").rglob("*.py"):
        assert not imported(path), path.name


def test_importing_the_package_is_light():
    loaded = f"print(*({HEAVY!r} & set(sys.modules)))"
    code = f"import diffcam_jax.editor.editor, diffcam_jax.faces.scorers, sys; {loaded}"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == []


def test_no_file_is_long():
    for path in ROOT.rglob("*.py"):
        if not {".venv", ".git", "build"} & set(path.relative_to(ROOT).parts):
            assert len(path.read_text().splitlines()) <= 350, path.name


def test_every_part_states_its_licence_in_weights_md():
    stated = (ROOT / "WEIGHTS.md").read_text()
    assert [name for name in PARTS if f"`{name}`" not in stated] == []
