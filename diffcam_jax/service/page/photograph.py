"""Opening a photograph on the page: its faces in boxes, and the mask that is painted over it."""

import dataclasses
import functools
import secrets
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.decoding import read_bytes
from diffcam_jax.faces.landmarks import MAX_FACES, FaceLandmarker, reduced
from diffcam_jax.faces.photo import decode_photo, to_8_bits, write_photo
from diffcam_jax.faces.selection import still_quad
from diffcam_jax.files.domain import FACES, Domain
from diffcam_jax.service import clips
from diffcam_jax.service.page.session import Session

PREVIEW = 1024  # longest side, in pixels
_CHOSEN, _OTHER = "#ff8c00", "#ffffff"
_lock = threading.Lock()


@functools.cache
def _landmarker() -> FaceLandmarker:
    """Of the page; workers have one of their own."""
    return FaceLandmarker()


def open_photograph(
    path: Path, name: str, most_pixels: int, folder: Path, domain: Domain = FACES
) -> Session:
    """Reads a photograph and finds its faces.

    Args:
        path: as it was sent.
        name: of the file, for people.
        most_pixels: largest accepted width x height.
        folder: of the visitors' pictures.
        domain: what kind of pictures are edited; of those without faces it is always one part.

    Raises:
        UserError: it cannot be read, or is a clip.
    """
    refuse_clip(path, name)
    photo = decode_photo(read_bytes(path), Path(name), most_pixels)
    pixels = to_8_bits(photo.pixels)
    before = folder / secrets.token_hex(16) / "before.png"
    write_photo(before, dataclasses.replace(photo, pixels=pixels, alpha=None))
    height, width = pixels.shape[:2]
    if domain.of_faces:
        with _lock:
            faces = _landmarker().detect(pixels, MAX_FACES)
        quads = [align.ffhq_quad(face.points) for face in faces]
    else:
        quads = [still_quad(domain, height, width)]
    return Session(path, name, before, (width, height), reduced(pixels, PREVIEW), quads)


def refuse_clip(path: Path, name: str) -> None:
    """Has clips sent elsewhere.

    Raises:
        UserError: the file is a clip.
    """
    if clips.is_one(path, name):
        raise UserError(f"{name}: is a clip; it is edited on the tab for clips")


def face_choices(session: Session) -> list[tuple[str, str]]:
    """Label and value of every face that can be chosen."""
    count = len(session.quads)
    if count < 2:
        return [("the face", "1")]
    numbered = [(f"face {number}", str(number)) for number in range(1, count + 1)]
    return [*numbered, (f"all {count} faces", "all")]


# The square that FFHQ cuts is wide; the face fills the middle of it.
_FILLED = {"face": 0.62, "square": 1.0, "whole": 1.0}


def boxed(session: Session, face: str, domain: Domain = FACES) -> UInt8[np.ndarray, "h w 3"] | None:
    """The preview with a numbered box around each face.

    Args:
        session: with a photograph.
        face: the chosen one, or "all".
        domain: see `open_photograph`.
    """
    if session.preview is None:
        return None
    picture = Image.fromarray(session.preview)
    draw, scale = ImageDraw.Draw(picture), picture.width / session.size[0]
    width = max(3, picture.width // 160)
    font = ImageFont.load_default(max(14, picture.width // 40))
    for number, quad in enumerate(session.quads, start=1):
        colour = _CHOSEN if face in ("all", str(number)) else _OTHER
        corners = quad.mean(0) + _FILLED[domain.crop] * (quad - quad.mean(0))
        outline = [tuple(point) for point in (corners * scale).tolist()]
        draw.line([*outline, outline[0]], fill="#000000", width=width + 4)
        draw.line([*outline, outline[0]], fill=colour, width=width)
        if len(session.quads) > 1:
            draw.text(
                outline[0],
                str(number),
                fill=colour,
                font=font,
                stroke_width=2,
                stroke_fill="#000000",
            )
    return np.asarray(picture)


def face_at(session: Session, x: float, y: float) -> str | None:
    """The number of the face at a point of the preview, as text; None beside all faces.

    Where two squares overlap, the nearer centre counts.
    """
    if session.preview is None:
        return None
    point = np.array([x, y]) * session.size[0] / session.preview.shape[1]
    found = []
    for number, quad in enumerate(session.quads, start=1):
        centre, half = quad.mean(0), np.hypot(*(quad[3] - quad[0])) / 2
        distance = float(np.hypot(*(point - centre)))
        if distance < half:
            found.append((distance / half, str(number)))
    return min(found)[1] if found else None


def painted_mask(
    session: Session, editor: dict[str, Any] | None
) -> UInt8[np.ndarray, "h w"] | None:
    """What was painted over the preview, at the size of the photograph; None without any paint.

    Args:
        session: with a photograph.
        editor: value of `gradio.ImageEditor` with arrays.
    """
    layers = [np.asarray(layer) for layer in (editor or {}).get("layers", []) if layer is not None]
    painted = [layer[..., 3] for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    if session.preview is None or not painted or not any(layer.any() for layer in painted):
        return None
    mask = np.max(painted, axis=0)
    if mask.shape != session.preview.shape[:2]:
        raise UserError("the painted mask belongs to another photograph; paint it again")
    return cv2.resize(mask, session.size, interpolation=cv2.INTER_LINEAR)


def overlay(
    before: UInt8[np.ndarray, "h w 3"], mask: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph with the place of the edit tinted."""
    tint = np.array([255.0, 140.0, 0.0], np.float32)
    weight = 0.55 * mask[..., None]
    return np.round(before * (1 - weight) + tint * weight).astype(np.uint8)
