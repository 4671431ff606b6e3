"""Tables of a report.

Rows of text, numbers with their confidence interval, notes and the settings that led to them.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: shown above it.
        columns: heads; the first column names the rows.
        rows: cells, as many as there are columns.
        notes: lines below it: warnings, what a column is.
        settings: what the numbers depend on, by name; printed with the table.
        published: the numbers are taken from publications, not measured here.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    published: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: a row of {len(row)} cells under {len(self.columns)} "
                    "columns"
                )

    @property
    def heading(self) -> str:
        """The title, marked when the numbers are not ours."""
        return f"{self.title} (published numbers)" if self.published else self.title

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with title, notes and settings."""
        lines = [f"### {plain(self.heading)}", ""]
        lines.append("| " + " | ".join(plain(c) for c in self.columns) + " |")
        lines.append("|" + "---|" * len(self.columns))
        lines += ["| " + " | ".join(plain(c) for c in row) + " |" for row in self.rows]
        lines += [f"\n{plain(note)}" for note in self.notes]
        if self.settings:
            lines.append(f"\n<sub>{plain(self.settings_line())}</sub>")
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """The same as HTML; all text is escaped."""
        head = "".join(f"<th>{html.escape(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>"
            for row in self.rows
        )
        kind = ' class="published"' if self.published else ""
        parts = [
            f"<h3>{html.escape(self.heading)}</h3>",
            f"<table{kind}><tr>{head}</tr>{body}</table>",
        ]
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        if self.settings:
            parts.append(f'<p class="settings">{html.escape(self.settings_line())}</p>')
        return "\n".join(parts)

    def settings_line(self) -> str:
        """name=value of every setting, in their order."""
        return "settings: " + ", ".join(f"{name}={value}" for name, value in self.settings.items())


def number(value: float, digits: int = 3, interval: tuple[float, float] | None = None) -> str:
    """A number as a cell: so many decimals, with its confidence interval in brackets.

    "-" for what is not finite.

    Args:
        value: to show.
        digits: decimals.
        interval: (low, high).
    """
    if value is None or not math.isfinite(value):
        return "inf" if value is not None and value == math.inf else "-"
    text = f"{value:.{digits}f}"
    if interval is None or not all(math.isfinite(v) for v in interval):
        return text
    return f"{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def plain(text: str) -> str:
    """Text that Markdown takes neither for markup nor for HTML."""
    return " ".join("".join(_SIGNS.get(sign, sign) for sign in text).split())


_SIGNS = {sign: f"\\{sign}" for sign in "\\`*_[]#!|$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
