"""What one visitor has open: a photograph, and the edits made of it so far."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Step:
    """One edit that has been made.

    Attributes:
        settings: of the edit, see `links.Form`.
        folder: with its pictures, served to this visitor only.
        report: of the edit.
    """

    settings: Any
    folder: Path
    report: dict[str, Any]


@dataclasses.dataclass
class Session:
    """A visitor's photograph and edits.

    Attributes:
        photo: the file as it was sent; None before there is one.
        name: of the file, for people.
        before: the photograph as a browser shows it, at full resolution.
        size: width and height in pixels, upright.
        preview: small upright picture that faces are chosen and masks painted on.
        quads: squares around the faces, largest first, in pixels of the photograph.
        steps: edits in the order in which they were made.
        place: which of them is shown; -1 before the first.
    """

    photo: Path | None = None
    name: str = ""
    before: Path | None = None
    size: tuple[int, int] = (0, 0)
    preview: np.ndarray | None = None
    quads: list[np.ndarray] = dataclasses.field(default_factory=list)
    steps: list[Step] = dataclasses.field(default_factory=list)
    place: int = -1

    @property
    def shown(self) -> Step | None:
        """The edit that is shown; None before the first."""
        return self.steps[self.place] if self.place >= 0 else None

    def add(self, step: Step) -> None:
        """Shows a new edit; those that were undone are forgotten."""
        self.steps = [*self.steps[: self.place + 1], step]
        self.place += 1

    def move(self, by: int) -> Step | None:
        """Goes back (-1) or forth (+1); None where there is no further edit."""
        if not 0 <= self.place + by < len(self.steps):
            return None
        self.place += by
        return self.shown
