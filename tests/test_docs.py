"""README and docs are true: what they name exists, and the examples import."""

import ast
import functools
import importlib
import itertools
import re
from pathlib import Path

import markdown
import pytest

from diffcam_jax.directions import load_directions
from diffcam_jax.directions.measure import markdown_table
from tests.docs_pages import (
    ABSL,
    PACKAGES,
    PAGES,
    ROOT,
    blocks,
    commands,
    entry_points,
    file_of,
    flags_of,
    inline,
    installed_commands,
    make_targets,
    named_programs,
    program_file,
    text_of,
)
from tests.test_layout import LEVELS

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


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


def check_config_fields(program: str, line: str) -> None:
    """Every --config.FIELD of a command belongs to its configuration."""
    name = re.search(r"--config[ =](configs/[\w/]+\.py)(?::(\w+))?", line)
    default = "configs/eval/all.py" if program == "evaluate.py" else "configs/diffcam_mobile.py"
    chosen = config(name[1], name[2]) if name else config(default)
    for field in re.findall(r"--config\.([a-z][\w.]*)", line):
        assert has_field(chosen, field), f"{line}: no field {field}"


@each_page
def test_commands_and_flags_exist(page):
    for program, arguments in commands(page):
        path, line = program_file(program), " ".join([program, *arguments])
        assert path is not None and path.is_file(), f"{program} is no program"
        groups = flags_of(program)
        if groups is None:  # its packages are not installed: its own text must do
            groups = {"": re.findall(r"--[a-z][\w-]*", text_of(path))}
        own = groups[""]
        if len(groups) > 1 and arguments and re.fullmatch(r"[a-z_]+", arguments[0]):
            assert arguments[0] in groups, f"{line}: no such command"
            own = groups[arguments[0]]
        for word in itertools.takewhile(lambda word: word != "--", arguments):
            flag = re.match(r"\[?(--[a-z][\w-]*)(?=$|=|\]|\s)", word)
            assert flag is None or flag[1] in own, f"{line}: no flag {flag[1]}"
        if program in ABSL:
            check_config_fields(program, line)


def test_make_targets_and_installed_commands_exist():
    makefile = text_of(ROOT / "Makefile")
    for page in PAGES:
        for target in make_targets(page):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page.name}: make {target}"
        assert entry_points(page) <= set(installed_commands()), page.name


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


def test_contributing_lists_the_rooms_in_their_order():
    table = text_of(ROOT / "CONTRIBUTING.md").partition("| room |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == LEVELS


def test_the_table_of_regions_is_that_of_the_shipped_directions():
    assert markdown_table(load_directions()) in text_of(ROOT / "docs/directions.md")
