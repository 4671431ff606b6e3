"""The programs as an installation has them: console commands that work from any folder."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from diffcam_jax.command import configs, program
from diffcam_jax.errors import UserError

ROOT = Path(__file__).parent.parent
COMMANDS = ("edit", "invert", "train", "evaluate", "app", "convert", "domain")
SCRIPTS = COMMANDS[:5]


def call(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess:
    """A console command of this environment, run in a folder outside the checkout."""
    place = Path(sys.executable).parent / f"diffcam-{name}"
    return subprocess.run([place, *arguments], cwd=folder, capture_output=True, text=True)


def test_every_command_is_an_entry_point_that_can_be_loaded():
    found = importlib.metadata.entry_points(group="console_scripts")
    own = {point.name: point for point in found if point.name.startswith("diffcam-")}
    assert set(own) == {f"diffcam-{name}" for name in COMMANDS}
    assert all(callable(point.load()) for point in own.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_from_any_folder_is_that_of_the_checkout(tmp_path, name):
    installed = call(tmp_path, name, "--help")
    assert installed.returncode == 0 and installed.stderr == ""
    assert f"diffcam-{name}" in installed.stdout and "python " not in installed.stdout
    if name in SCRIPTS:
        script = [sys.executable, str(ROOT / f"{name}.py"), "--help"]
        done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
        options = [set(re.findall(r"--[\w\[\]-]+", text.stdout)) for text in (installed, done)]
        assert done.returncode == 0 and options[0] == options[1] and f"{name}.py" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_only_its_program(name):
    source = (ROOT / f"{name}.py").read_text()
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    modules = {getattr(node, "module", None) or node.names[0].name for node in nodes}
    assert modules == {"sys", f"diffcam_jax.programs.{name}"}
    column = (ROOT / f"diffcam_jax/programs/{name}.py").read_text()
    assert len(source.splitlines()) <= 150 and len(column.splitlines()) <= 150


def test_help_and_mistakes_of_an_edit_need_no_arrays():
    code = "import sys, diffcam_jax.programs.edit, diffcam_jax.programs.invert; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "jax", "PIL", "filelock", "absl"} & set(done.stdout.split())


def test_messages_name_the_programs_as_this_one_was_called(monkeypatch):
    text = "next: python edit.py A, python invert.py mix, python -m convert_weights auto"
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])
    assert program.as_called(text) == text
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/diffcam-train"])
    called = "next: diffcam-edit A, diffcam-invert mix, diffcam-convert auto"
    assert program.as_called(text) == called


# ---------------------------------------------------------------- configurations by name


def test_a_configuration_by_name_with_its_mode(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = ROOT / "configs" / "eval" / "masks.py"
    for text in ("eval/masks", "configs/eval/masks.py"):
        assert Path(configs.resolve(text)) == place
        assert configs.resolve(f"{text}:debug") == f"{place}:debug"
    assert Path(configs.resolve("masks", "eval")) == place
    assert Path(configs.resolve("encoder", "eval")) == ROOT / "configs" / "encoder.py"


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "encoder.py").touch()
    assert configs.resolve("configs/encoder.py:psp") == "configs/encoder.py:psp"
    assert Path(configs.resolve("encoder")) == ROOT / "configs" / "encoder.py"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"'stylegan'; did you mean stylegan2"):
        configs.resolve("stylegan")
    assert configs.resolve("configs/none.py") == "configs/none.py"  # opening it says the rest


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ([], ["--config=FILE"]),
        (["--config", "encoder:psp", "--steps"], ["--config", "ENCODER:psp", "--steps"]),
        (["-config=encoder"], ["-config=ENCODER"]),
        (["--config.data.size=3"], ["--config=FILE", "--config.data.size=3"]),
        (["--config"], ["--config"]),
    ],
)
def test_the_configuration_on_the_command_line(given, made):
    paths = {"FILE": "configs/stylegan2.py", "ENCODER": "configs/encoder.py"}
    for word, path in paths.items():
        made = [argument.replace(word, str(ROOT / path)) for argument in made]
    assert configs.with_file(["train.py", *given], "stylegan2") == ["train.py", *made]


def test_a_named_configuration_is_read_outside_the_checkout(tmp_path):
    run = ["--workdir", "run", "--config.size=48"]
    done = call(tmp_path, "evaluate", "--config=masks:debug", *run)
    assert done.returncode == 2 and done.stderr.startswith("error: config.size=48 is no power")
    done = call(tmp_path, "evaluate", "--config=mask", "--workdir", "run")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "no configuration is called 'mask'; did you mean masks?" in done.stderr
    assert not list(tmp_path.iterdir())
