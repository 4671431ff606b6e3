"""What an edit of a photograph gives: pictures, masks and a report.

Pictures are numpy uint8 unless they say otherwise; masks are float32 in [0, 1].
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class FaceEdit:
    """One face's way through the edit; pictures are uint8 [s, s, 3], aligned as FFHQ.

    With a tuned window I' and T are drawn in the window and shown within the photograph.

    Attributes:
      aligned, inverted, edited, fused: I, G(w), T and their blend (Eq. 5).
      deghosted: the deghosting network's picture of the blend, None without such a network.
      source: what goes into the photograph, float32 [s, s, 3] in [0, 1]: T, or the deghosted
        picture.
      mask: [s, s] float32 in [0, 1].
      cam_mask: Diff-CAM's mask before regions, domain and the user's mask have their say; None
        where no method asks for it.
      domain: [s, s], what is out of the generator's domain and kept; None with a method that does
        not look for it.
      paste_mask: [s, s], where `source` goes into the photograph; the mask, or with deghosting a
        region around it.
      latents: W+ code of the photograph [18, 512]; edited_latents: with the edits. None for an edit
        made elsewhere, whose `inverted` is the photograph as soft as the other program's picture.
      quad: [4, 2] place of the crop in the photograph.
      report: measurements, ready for JSON.
      window_pixels: (top, bottom, left, right) of the tuned window in the aligned picture; None
        without one.
    """

    aligned: np.ndarray
    inverted: np.ndarray
    edited: np.ndarray
    fused: np.ndarray
    deghosted: np.ndarray | None
    source: np.ndarray
    mask: np.ndarray
    cam_mask: np.ndarray | None
    domain: np.ndarray | None
    paste_mask: np.ndarray
    latents: np.ndarray | None
    edited_latents: np.ndarray | None
    quad: np.ndarray
    report: dict[str, Any]
    window_pixels: tuple[int, int, int, int] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class EditResult:
    """An edited photograph.

    Attributes:
      image: [h, w, 3], size and dtype of the input.
      faces: the faces that were edited, largest first; the properties below are those of the first.
      report: strengths, method, untouched share, seconds, versions, hashes, and a list of the
        faces' reports: strengths asked and reached, mask area, classifier's scores, seconds.
    """

    image: np.ndarray
    faces: tuple[FaceEdit, ...]
    report: dict[str, Any]

    aligned = property(lambda self: self.faces[0].aligned)
    inverted = property(lambda self: self.faces[0].inverted)
    edited = property(lambda self: self.faces[0].edited)
    fused = property(lambda self: self.faces[0].fused)
    deghosted = property(lambda self: self.faces[0].deghosted)
    mask = property(lambda self: self.faces[0].mask)
    domain = property(lambda self: self.faces[0].domain)
    latents = property(lambda self: self.faces[0].latents)


def judged(
    names: Sequence[str], classes: Sequence[str], logits: Iterable[np.ndarray]
) -> dict[str, Any]:
    """What the classifier says of each edit, for the report.

    Args:
      names: of the attributes, in the order of their edits.
      classes: of the classifier.
      logits: a row [N] for each edit; none where no classifier was asked.
    """
    return {
        name: {
            "logits": {c: round(float(v), 3) for c, v in zip(classes, row)},
            "agrees": bool(classes[int(row.argmax())] == name),
        }
        for name, row in zip(names, logits)
    }


def spent(report: dict[str, Any]) -> str:
    """The seconds of an edit in one line."""
    parts: dict[str, float] = {"find faces": report["seconds"]["faces"]}
    for face in report["faces"]:
        for name, seconds in face["seconds"].items():
            parts[name] = parts.get(name, 0.0) + seconds
    if "tune" in parts:
        parts.pop("edit")  # look, draft, tune and blend are its parts
    return f"{report['seconds']['all']:.1f} s: " + ", ".join(
        f"{name} {value:.1f}" for name, value in parts.items()
    )


def reached(report: dict[str, Any]) -> list[str]:
    """What a person should know of the strengths that were reached, a line each."""
    several = len(report["faces"]) > 1
    lines = [f"{len(report['faces'])} faces were found"] if several else []
    for number, face in enumerate(report["faces"], start=1):
        who = f"face {number}: " if several else ""
        for name, found in face.get("strengths", {}).items():
            if found["reached"] is not None:
                lines.append(
                    f"{who}{name}: asked {found['asked']:g}, reached {found['reached']:.2f} "
                    f"of the usual move (factor {found['factor']:.2f})"
                )
        if "registration" in face:
            place = face["registration"]
            lines.append(
                f"{who}the edited picture is a {place['kind']} at {place['scale']:.3g} times the "
                f"photograph's size; {face['mask_area']:.1%} of the face's square is taken from it"
            )
        lines += [f"{who}{note}" for note in face.get("notes", [])]
    return lines
