"""README and docs are true: what they name exists, the site builds, the examples import."""

import ast
import functools
import importlib
import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import markdown
import pytest

from diffcam_jax.directions import load_directions
from diffcam_jax.directions.measure import markdown_table

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "WEIGHTS.md", "benchmarks/README.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
PACKAGES = "diffcam_jax|convert_weights|benchmarks|configs"
SCRIPTS = ("edit.py", "invert.py", "train.py", "evaluate.py")
ABSL = ("train.py", "evaluate.py")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, content) of every fenced block."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```", text_of(page), re.S | re.M)


def inline(page: Path) -> list[str]:
    """Every piece of inline code, on one line."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of a page as words."""
    lines = [code for code in inline(page) if " " in code or code.endswith(".py")]
    for language, content in blocks(page):
        if language in ("", "bash"):
            lines += content.replace("\\\n", " ").splitlines()
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # prose in code, such as I'
            continue
        if words[:1] == ["time"]:
            words = words[1:]
        if words[:1] == ["python"] or (words and words[0] in SCRIPTS):
            yield words[1:] if words[0] == "python" else words
        elif words and words[0] == "make":
            for target in words[1:]:
                assert re.search(rf"^{target}:", text_of(ROOT / "Makefile"), re.M), target
        elif words and words[0].startswith("diffcam-"):
            assert words[0] in entry_points(), words[0]


def entry_points() -> dict[str, str]:
    return tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"].get("scripts", {})


def file_of(module: str) -> Path | None:
    """The file of a module of this project; of a package that is run, its __main__."""
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__main__.py", path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def flags_of(program: str) -> dict[str, list[str]] | None:
    """Subcommand or "" -> flags; see `command_lines`."""
    alone = (program,) if program in ABSL else tuple(sorted(named_programs() - set(ABSL)))
    return _flags_of(alone)[program]


@functools.cache
def _flags_of(programs: tuple[str, ...]) -> dict:
    command = [sys.executable, str(ROOT / "tests/command_lines.py"), *programs]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def named_programs() -> set[str]:
    """The programs of this project that the pages call."""
    found = set()
    for page in PAGES:
        for words in commands(page):
            name = program_of(words)
            if name is not None:
                found.add(name)
    return found


def program_of(words: list[str]) -> str | None:
    """What a command runs; None for a module of another project."""
    if words[0] != "-m":
        return words[0]
    return words[1] if words[1].partition(".")[0] in PACKAGES.split("|") else None


@functools.cache
def config(name: str, mode: str | None = None):
    """The configuration of a file, in a mode."""
    module = importlib.import_module(".".join(Path(name).with_suffix("").parts))
    return module.get_config() if mode is None else module.get_config(mode)


def has_field(fields, path: str) -> bool:
    for part in path.split("."):
        if part not in fields:
            return False
        fields = fields[part]
    return True


def check_config_fields(words: list[str]) -> None:
    """Every --config.FIELD of a command belongs to its configuration."""
    joined = " ".join(words)
    name = re.search(r"--config[ =](configs/[\w/]+\.py)(?::(\w+))?", joined)
    default = "configs/eval/all.py" if words[0] == "evaluate.py" else "configs/diffcam_mobile.py"
    chosen = config(name[1], name[2]) if name else config(default)
    for field in re.findall(r"--config\.([a-z][\w.]*)", joined):
        assert has_field(chosen, field), f"{joined}: no field {field}"


@each_page
def test_commands_and_flags_exist(page):
    for words in commands(page):
        name = program_of(words)
        if name is None:
            continue
        path = ROOT / name if name.endswith(".py") else file_of(name)
        assert path is not None and path.is_file(), f"{name} is no program"
        groups = flags_of(name)
        if groups is None:  # its packages are not installed: its own text must do
            groups = {"": re.findall(r"--[a-z][\w-]*", text_of(path))}
        rest = words[2:] if words[0] == "-m" else words[1:]
        own = groups[""]
        if len(groups) > 1 and rest and re.fullmatch(r"[a-z_]+", rest[0]):
            assert rest[0] in groups, f"{name} has no command {rest[0]}"
            own = groups[rest[0]]
        for word in itertools.takewhile(lambda word: word != "--", rest):
            flag = re.match(r"\[?(--[a-z][\w-]*)(?=$|=|\]|\s)", word)
            assert flag is None or flag[1] in own, f"{' '.join(words)}: no flag {flag[1]}"
        if name in ABSL:
            check_config_fields(words)


@each_page
def test_flags_in_prose_exist(page):
    every = set()
    for name in named_programs():
        for group in (flags_of(name) or {}).values():
            every |= set(group)
    every |= set(
        re.findall(r"--[a-z][\w-]*", "".join(map(text_of, (ROOT / "benchmarks").glob("*.py"))))
    )
    for code in inline(page):
        if code.startswith(("pip", "mkdocs", "git")):
            continue
        for flag in re.findall(r"(?<![\w-])(--[a-z][\w-]*)", code):
            assert flag in every, f"{page.name}: no program has {flag}"
        for field in re.findall(r"^--config\.([a-z][\w.]*)", code):
            assert any(has_field(one, field) for one in every_config()), f"no field {field}"


def every_config() -> list:
    files = [p for p in (ROOT / "configs").rglob("*.py") if "get_config" in text_of(p)]
    return [config(path.relative_to(ROOT).as_posix()) for path in files]


@each_page
def test_files_and_modes_exist(page):
    pattern = rf"(?<![\w/.-])((?:{PACKAGES}|tests|docs)/[\w./*-]*[\w*])(?::(\w+))?"
    for name, mode in re.findall(pattern, text_of(page)):
        if any(part.isupper() for part in Path(name).with_suffix("").parts):
            continue  # NAME.py stands for any
        if not name.startswith("docs/out_of_domain/results"):
            assert list(ROOT.glob(name)), f"{name} does not exist"
        if mode and name.startswith("configs/"):
            config(name, mode)


@each_page
def test_relative_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text_of(page)):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of this project or lies in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        if file_of(".".join(parts[:cut])) is None:
            continue
        value = importlib.import_module(".".join(parts[:cut]))
        for part in parts[cut:]:
            fields = getattr(value, "__dataclass_fields__", {})
            if not hasattr(value, part) and part not in fields:
                return False
            value = getattr(value, part, None)
        return True
    return False


@each_page
def test_dotted_names_exist(page):
    found = re.findall(rf"(?<![\w./-])((?:{PACKAGES})(?:\.\w+)+)(?![\w/])", text_of(page))
    for name in {name for name in found if not name.endswith((".md", ".py"))}:
        if importable(name):
            assert resolves(name), f"{page.name}: {name}"


def importable(name: str) -> bool:
    """False for benchmarks whose packages are not installed here."""
    if not name.startswith("benchmarks"):
        return True
    path = file_of(name)
    assert path is not None, f"{name} does not exist"
    return False


@each_page
def test_python_examples_import(page):
    for language, content in blocks(page):
        if language != "python":
            continue
        tree, bound = ast.parse(content), {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([node], []), page.name, "exec"), bound)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = bound.get(node.value.id)
                if owner is not None and not isinstance(owner, str):
                    assert hasattr(owner, node.attr), f"{node.value.id}.{node.attr}"


# ---------------------------------------------------------------- README


def words_of(text: str) -> list[str]:
    """The words of rendered Markdown, tables included and code blocks not."""
    html = markdown.markdown(text, extensions=["tables", "fenced_code"])
    plain = re.sub(r"<[^>]+>", " ", re.sub(r"<pre>.*?</pre>", " ", html, flags=re.S))
    return [word for word in plain.split() if re.search(r"\w", word)]


def test_words_are_counted_as_a_reader_sees_them():
    text = "# Two words\n\n```\nnot these\n```\n\n| a | b |\n|---|---|\n| [c](d.md) | `e f` |\n"
    assert words_of(text) == ["Two", "words", "a", "b", "c", "e", "f"]


def test_readme_has_600_to_700_words():
    assert 600 <= len(words_of(text_of(ROOT / "README.md"))) <= 700


def test_readme_has_its_parts_in_order():
    readme = text_of(ROOT / "README.md")
    order = [
        "docs/hopper.jpg",
        "## Licence of the weights",
        "## Installation",
        "make demo",
        "## Your own photograph",
        "## Python",
        "## Tools",
        "## Three numbers",
        "## Limits",
        "## Links",
        "## Citation",
    ]
    places = [readme.index(part) for part in order]
    assert places == sorted(places)
    assert "pip install '.[cuda]'" in readme
    assert "2207.08134" in readme[places[-1] :] and "@software{" in readme[places[-1] :]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "WEIGHTS.md"])
def test_pages_of_the_root_folder_have_at_most_100_columns(name):
    long = [line for line in text_of(ROOT / name).splitlines() if len(line) > 100]
    allowed = "|" if name == "WEIGHTS.md" else "no line"  # its table has a row for each part
    assert [line for line in long if not line.startswith(allowed)] == []


def test_the_table_of_regions_is_that_of_the_shipped_directions():
    assert markdown_table(load_directions()) in text_of(ROOT / "docs/directions.md")


# ---------------------------------------------------------------- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly and without any network."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "localhost:9"
    )
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site(site):
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        assert (site / (name if name.name != "index" else name.parent) / "index.html").exists()
    for name in ("index.html", "contributing/index.html", "weights/index.html"):
        assert (site / name).exists()


def test_the_site_loads_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img)\b[^>]*?(?:src|href)=\"?(https?:[^\" >]+)", text_of(path)
        )
        assert loaded == [], path


def test_the_site_has_equations_code_and_search(site):
    method = text_of(site / "method/index.html")
    assert method.count("<math") >= 10 and "(7)" not in re.findall(r"\\qquad", method)
    # The code of Eq. 5 stands beside it, with a link to its docstring.
    assert "api/editing/#diffcam_jax.editing.compose.blend" in method
    assert "jnp" in method and "\\frac" not in method
    assert "Diff-CAM" in text_of(site / "search/search_index.json")
    start = text_of(site / "index.html")
    assert 'data-md-color-scheme="slate"' in start and 'data-md-color-scheme="default"' in start


def test_an_equation_that_names_no_function_fails(tmp_path):
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site_hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert hooks.code_of("diffcam_jax.editing.compose.combine").splitlines()[-1] == (
        "    return jnp.max(masks, axis=0)"
    )
    with pytest.raises(Exception, match="no such function"):
        hooks.code_of("diffcam_jax.editing.compose.no_such_function")


# ---------------------------------------------------------------- the notebook


@pytest.mark.nightly
@pytest.mark.weights
def test_the_tour_runs_from_top_to_bottom(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs/tour.ipynb", as_version=4)
    monkeypatch.setenv("DIFFCAM_TOUR_OUT", str(tmp_path))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": ROOT}}).execute()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if {"image/png", "image/jpeg"} & set(output.get("data", {}))
    ]
    assert len(pictures) >= 5
