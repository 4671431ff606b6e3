"""What MkDocs needs beyond its plugins: pages from the root folder, equations, and source code.

* README.md, CONTRIBUTING.md and WEIGHTS.md of the root folder become the pages index, contributing
  and weights; links in both directions are adjusted, so that they also work on a code host.
* A `math` block becomes MathML when the site is built, which browsers draw without a script.
* A `source` block names functions, one a line, and shows their code as it stands today.
"""

import ast
import re
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "WEIGHTS.md": "weights.md"}
_LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Registers the two kinds of blocks."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [
        {"name": "math", "class": "math", "format": equation},
        {"name": "source", "class": "source", "format": source},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root folder."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adjusts links between the root folder and docs."""
    own = PurePosixPath(page.file.src_uri)
    if own.name in PAGES.values() and page.file.generated_by:
        return _LINK.sub(lambda m: m[1] + PAGES.get(m[2], m[2].removeprefix("docs/")), markdown)
    up = "../" * len(own.parents)
    back = "../" * (len(own.parents) - 1)
    for name, target in PAGES.items():
        markdown = markdown.replace(f"]({up}{name}", f"]({back}{target}")
    return markdown


def equation(text: str, language, css_class, options, md, **kwargs) -> str:
    """A `math` block as MathML, a formula for each paragraph."""
    formulas = re.split(r"\n\s*\n", text.strip())
    return "".join(f"<p>{convert(formula, display='block')}</p>" for formula in formulas)


def source(text: str, language, css_class, options, md, **kwargs) -> str:
    """A `source` block as the code of the functions that it names, each linked to its docstring."""
    formatter = HtmlFormatter(cssclass="highlight", wrapcode=True)
    blocks = []
    for name in text.split():
        title = (
            f'<span class="filename"><autoref optional identifier="{name}">{name}</autoref></span>'
        )
        code = highlight(code_of(name), PythonLexer(), formatter)
        blocks.append(code.replace("<pre>", title + "<pre>", 1))
    return "".join(blocks)


def code_of(name: str) -> str:
    """The code of a function or method without its docstring.

    Args:
        name: dotted path, "diffcam_jax.editing.compose.blend" for instance.

    Raises:
        PluginError: there is no such function.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        path = ROOT.joinpath(*parts[:cut]).with_suffix(".py")
        if not path.is_file():
            path = ROOT.joinpath(*parts[:cut], "__init__.py")
        if path.is_file():
            lines, node = path.read_text().splitlines(), ast.parse(path.read_text())
            for part in parts[cut:]:
                named = (n for n in node.body if getattr(n, "name", None) == part)
                node = next(named, None)
                if node is None:
                    break
            else:
                return _without_docstring(lines, node)
    raise PluginError(f"{name}: there is no such function to show")


def _without_docstring(lines: list[str], node: ast.FunctionDef | ast.ClassDef) -> str:
    shown = range(node.lineno - 1, node.end_lineno)
    if ast.get_docstring(node) is not None:
        text = node.body[0]
        shown = [i for i in shown if not text.lineno - 1 <= i < text.end_lineno]
    code = [lines[i][node.col_offset :] for i in shown]
    return "\n".join(code)
