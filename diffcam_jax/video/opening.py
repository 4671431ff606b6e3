"""Clips of every kind, opened and read frame by frame."""

import os
from collections.abc import Iterator
from pathlib import Path

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import SUFFIXES as PHOTOGRAPHS
from diffcam_jax.video import animation_reading, frame_folders, video_opening, video_reading
from diffcam_jax.video.clip import Clip, Frame

VIDEOS = (
    ".3g2",
    ".3gp",
    ".asf",
    ".avi",
    ".dv",
    ".flv",
    ".ivf",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".nut",
    ".ogv",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
    ".y4m",
)
_OF_PHOTOGRAPHS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a video, or an animation of more than one frame, by name and content.

    A folder never is: its frames are a clip only where that is asked for.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        return suffix in VIDEOS
    if suffix in VIDEOS:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    if animation_reading.may_be(head):
        return animation_reading.is_animated(path)
    return suffix not in PHOTOGRAPHS and _is_video(head)


def open_clip(path: str | os.PathLike[str], as_frames: bool = False) -> Clip:
    """Finds out about a clip; its first frame is decoded.

    Args:
        path: a video, an animated GIF, WebP or PNG, or a folder.
        as_frames: whether a folder of pictures is a clip, one frame each, sorted by their numbers.

    Raises:
        UserError: it is missing, damaged, has no picture, or is of a kind that cannot be edited.
    """
    path = Path(path)
    if path.is_dir():
        if not as_frames:
            raise UserError(f"{path}: is a folder of pictures; add --frames if they are a clip")
        return frame_folders.open_folder(path)
    if as_frames:
        raise UserError(f"{path}: is not a folder of frames; leave out --frames")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({why}); check the name") from error
    if not head:
        raise UserError(f"{path}: the file is empty (0 bytes); get a fresh copy of it")
    if animation_reading.may_be(head):
        return animation_reading.open_animation(path)
    return video_opening.open_video(path)


def read_frames(clip: Clip, start: int = 0, damaged: list[str] | None = None) -> Iterator[Frame]:
    """Reads frames in the order in which they are shown, one in memory at a time.

    Args:
        clip: see `open_clip`.
        start: number of the first frame to hand out; those before are decoded only.
        damaged: gets a line for everything that is damaged: frames that are kept as they are,
            packets that make no frame, and the end of a truncated file.

    Raises:
        UserError: the file has changed, or its picture takes another form in the middle.
    """
    told = damaged if damaged is not None else []
    if clip.kind == "video":
        return video_reading.read_video(clip, start, told)
    if clip.kind == "animation":
        return animation_reading.read_animation(clip, start, told)
    return frame_folders.read_folder(clip, start, told)


def _is_video(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] not in _OF_PHOTOGRAPHS
    return head.startswith((b"\x1aE\xdf\xa3", b"OggS", b"FLV", b"\0\0\1\xba")) or (
        head.startswith(b"RIFF") and head[8:12] == b"AVI "
    )
