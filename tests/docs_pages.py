"""What README and docs name: code, commands, and the flags of the programs in them."""

import functools
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "WEIGHTS.md", "benchmarks/README.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
PACKAGES = "diffcam_jax|convert_weights|benchmarks|configs"
# Scripts, and what starts the same once it is installed.
SCRIPTS = {
    "diffcam-edit": "edit.py",
    "diffcam-invert": "invert.py",
    "diffcam-train": "train.py",
    "diffcam-evaluate": "evaluate.py",
    "diffcam-app": "app.py",
}
ABSL = ("train.py", "evaluate.py")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, content) of every fenced block."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```", text_of(page), re.S | re.M)


def inline(page: Path) -> list[str]:
    """Every piece of inline code, on one line."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def command_lines(page: Path) -> Iterator[list[str]]:
    """Every line of a page that could be a command, as words."""
    lines = inline(page)
    for language, content in blocks(page):
        if language in ("", "bash"):
            lines += content.replace("\\\n", " ").splitlines()
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # an apostrophe in prose
            continue
        yield words[1:] if words[:1] == ["time"] else words


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(program, arguments) of every command that starts a program of this project."""
    for words in command_lines(page):
        first, *rest = words or [""]
        if first == "python" and rest[:1] == ["-m"]:
            if rest[1].partition(".")[0] in PACKAGES.split("|"):
                yield rest[1], rest[2:]
        elif first == "python" and rest:
            yield rest[0], rest[1:]
        elif first in SCRIPTS.values() and rest:
            yield first, rest
        elif first in SCRIPTS:
            yield SCRIPTS[first], rest


def make_targets(page: Path) -> set[str]:
    return {words[1] for words in command_lines(page) if words[:1] == ["make"] and len(words) > 1}


def entry_points(page: Path) -> set[str]:
    return {words[0] for words in command_lines(page) if words and words[0].startswith("diffcam-")}


def installed_commands() -> dict[str, str]:
    return tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["scripts"]


def file_of(module: str) -> Path | None:
    """The file of a module of this project; of a package that is run, its __main__."""
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__main__.py", path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def program_file(program: str) -> Path | None:
    return ROOT / program if program.endswith(".py") else file_of(program)


@functools.cache
def named_programs() -> tuple[str, ...]:
    """The programs of this project that the pages call."""
    found = {program for page in PAGES for program, _ in commands(page)}
    return tuple(sorted(p for p in found if (program_file(p) or ROOT / "none").is_file()))


@functools.cache
def flags_of(program: str) -> dict[str, list[str]] | None:
    """Subcommand or "" -> flags; see `command_lines`."""
    others = tuple(name for name in named_programs() if name not in ABSL)
    return _flags_of((program,) if program in ABSL else others)[program]


@functools.cache
def _flags_of(programs: tuple[str, ...]) -> dict:
    command = [sys.executable, str(ROOT / "tests/command_lines.py"), *programs]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
