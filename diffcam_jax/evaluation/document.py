"""The report of an evaluation.

Report.md with its pictures beside it, and report.html, one file that needs no network.

A report is a list of sections; a section has a text, tables and figures. Everything that comes from
outside (file names, class names, messages) is escaped.
"""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffcam_jax.evaluation.tables import Table, plain
from diffcam_jax.files.trees import write_atomically

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; }
body { padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: .5em 0; font-size: 13px; }
th, td { border: 1px solid #ccc; padding: .25em .6em; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { background: #f2f2f2; }
table.published { background: #fffbe8; }
img { max-width: 100%; }
.settings { color: #777; font-size: 12px; overflow-wrap: anywhere; }
.problem { color: #a00; }
"""


@dataclass(frozen=True)
class Figure:
    """A picture of a report.

    Attributes:
        name: of its file.
        caption: shown below it.
        data: content of the file.
        suffix: "png" or "jpg".
    """

    name: str
    caption: str
    data: bytes
    suffix: str = "png"


@dataclass(frozen=True)
class Section:
    """One protocol's part of a report.

    Attributes:
        title: of the section.
        text: paragraphs that say what was measured, and how.
        tables, figures: what was found.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: of the report.
        command: that makes it.
        facts: versions, machine, weights, by name.
        sections: its parts.
        problems: what could not be measured -> why.
    """

    title: str
    command: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    problems: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes report.md, its figures and report.html into a folder."""
        for section in self.sections:
            for figure in section.figures:
                write_atomically(folder / f"{figure.name}.{figure.suffix}", figure.data)
        write_atomically(folder / "report.md", self.markdown().encode())
        write_atomically(folder / "report.html", self.html().encode())

    def markdown(self) -> str:
        """The report as Markdown; figures are links to files beside it."""
        lines = [
            f"# {plain(self.title)}",
            "",
            f"`{' '.join(self.command.replace('`', '').split())}`",
            "",
        ]
        for section in self.sections:
            lines += [f"## {plain(section.title)}", ""]
            lines += [f"{plain(paragraph)}\n" for paragraph in section.text]
            lines += [table.markdown() for table in section.tables]
            for figure in section.figures:
                lines += [f"![{plain(figure.caption)}]({figure.name}.{figure.suffix})", ""]
        if self.problems:
            lines += ["## What could not be measured", ""]
            lines += [
                f"* {plain(name)}: {plain(reason)}" for name, reason in self.problems.items()
            ] + [""]
        lines += ["## How it was measured", ""]
        lines += [f"* {plain(name)}: {plain(value)}" for name, value in self.facts.items()]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """The report as one HTML file with everything inside it; no script, nothing loaded."""
        body = [
            f"<h1>{html.escape(self.title)}</h1>",
            f"<p><code>{html.escape(self.command)}</code></p>",
        ]
        for section in self.sections:
            body.append(f"<h2>{html.escape(section.title)}</h2>")
            body += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.text]
            body += [table.html() for table in section.tables]
            for figure in section.figures:
                kind = "jpeg" if figure.suffix == "jpg" else figure.suffix
                data = base64.b64encode(figure.data).decode()
                body.append(
                    f'<figure><img alt="{html.escape(figure.caption)}" '
                    f'src="data:image/{kind};base64,{data}">'
                    f"<figcaption>{html.escape(figure.caption)}</figcaption></figure>"
                )
        if self.problems:
            body.append("<h2>What could not be measured</h2><ul>")
            body += [
                f'<li class="problem">{html.escape(name)}: {html.escape(reason)}</li>'
                for name, reason in self.problems.items()
            ]
            body.append("</ul>")
        body.append("<h2>How it was measured</h2><ul>")
        body += [
            f"<li>{html.escape(name)}: {html.escape(value)}</li>"
            for name, value in self.facts.items()
        ]
        body.append("</ul>")
        head = (
            f'<meta charset="utf-8"><title>{html.escape(self.title)}</title><style>{_STYLE}</style>'
        )
        return (
            f"<!doctype html>\n<html><head>{head}</head><body>\n"
            + "\n".join(body)
            + "\n</body></html>\n"
        )


def picture_figure(name: str, caption: str, sheet: Image.Image) -> Figure:
    """Pictures as a JPEG, small enough for a report."""
    buffer = io.BytesIO()
    sheet.convert("RGB").save(buffer, "JPEG", quality=82)
    return Figure(name, caption, buffer.getvalue(), "jpg")


def spread_plot(
    name: str, caption: str, groups: Mapping[str, Sequence[float]], axis: str
) -> Figure:
    """Every picture's value as a dot, a column for each group with a line at its mean.

    Args:
        name: of the file.
        caption: below it.
        groups: label -> values; what is not finite is left out.
        axis: what the values are.
    """

    def draw(axes) -> None:
        for place, values in enumerate(groups.values()):
            shown = np.asarray(values, np.float64)
            shown = shown[np.isfinite(shown)]
            if len(shown):
                shift = np.random.default_rng(0).uniform(-0.15, 0.15, len(shown))
                axes.plot(place + shift, shown, ".", alpha=0.6)
                axes.hlines(shown.mean(), place - 0.3, place + 0.3, color="black")
        axes.set_xticks(range(len(groups)), [_label(g) for g in groups])
        axes.set_ylabel(axis)

    return _plot(name, caption, draw)


def bar_plot(
    name: str, caption: str, values: Mapping[str, Mapping[str, float]], axis: str
) -> Figure:
    """Bars: a group for each entry, in it a bar for each series.

    Args:
        name: of the file.
        caption: below it.
        values: group -> series -> height.
        axis: what the heights are.
    """

    def draw(axes) -> None:
        series = list(dict.fromkeys(s for heights in values.values() for s in heights))
        width = 0.8 / max(len(series), 1)
        for i, one in enumerate(series):
            heights = [group.get(one, float("nan")) for group in values.values()]
            axes.bar(
                np.arange(len(values)) + (i - (len(series) - 1) / 2) * width,
                heights,
                width,
                label=_label(one),
            )
        axes.set_xticks(
            range(len(values)), [_label(g) for g in values], rotation=20 if len(values) > 4 else 0
        )
        axes.set_ylabel(axis)
        axes.legend()

    return _plot(name, caption, draw)


def curve_plot(
    name: str,
    caption: str,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    axes_are: tuple[str, str],
):
    """Lines.

    Args:
        name: of the file.
        caption: below it.
        curves: label -> (x, y).
        axes_are: what x and y are.
    """

    def draw(axes) -> None:
        for label, (x, y) in curves.items():
            axes.plot(x, y, label=_label(label))
        axes.set_xlabel(axes_are[0])
        axes.set_ylabel(axes_are[1])
        axes.legend()

    return _plot(name, caption, draw)


def _label(text: str) -> str:
    """Matplotlib takes what stands between two dollars for a formula."""
    return text.replace("$", r"\$")


def _plot(name: str, caption: str, draw) -> Figure:
    return Figure(name, caption, png(lambda canvas: draw(canvas.subplots()), (7.0, 3.6), 110))


def png(draw: Callable[[Any], None], size: tuple[float, float], dpi: int) -> bytes:
    """What is drawn on a canvas of Matplotlib, as a PNG.

    Args:
        draw: given the canvas, to which it adds its axes.
        size: width and height in inches.
        dpi: pixels of an inch.
    """
    from matplotlib.figure import Figure as Canvas  # no window system, and nothing global

    canvas = Canvas(figsize=size, dpi=dpi, layout="constrained")
    draw(canvas)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
