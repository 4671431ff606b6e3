"""Readers of videos and animations, under the law of `law`."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.law import Reader
from tests.hostile.photographs import animation

_FRAMES = 8  # of a file that are read and written, so that none takes long


def _videos(suffix: str, *kinds: dict[str, Any]) -> Callable[[], list[bytes]]:
    def made() -> list[bytes]:
        from tests.clip_files import write_video

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"seed{suffix}"
            return [write_video(path, frames=4, **kind).read_bytes() for kind in kinds]

    return made


def edit(data: bytes, folder: Path) -> None:
    """A clip is read, and written again as an edited one is, with and without a loss."""
    from diffcam_jax.video.opening import is_clip, open_clip, read_frames
    from diffcam_jax.video.writing import ClipWriter, result_name

    path = folder / "clip"
    path.write_bytes(data)
    is_clip(path)
    clip = open_clip(path)
    for lossless in (False, True):
        out = folder / f"result{result_name(clip, lossless)}"
        writer = ClipWriter(clip, out, folder / "work", lossless, part=3)
        for frame in read_frames(clip):
            if frame.number == _FRAMES:
                break
            touched = np.zeros(frame.pixels.shape[:2], bool)
            touched[4:12, 4:12] = True
            writer.write(frame, frame.pixels // 2, touched)
        writer.finish()


_ROTATED = {"rotation": (90, False, False), "color_range": 1, "colorspace": 1}
CLIPS = {
    "clip_mp4": Reader(
        _videos(".mp4", {"sound": "aac"}, _ROTATED, {"layout": "yuv420p10le"}),
        edit,
        "boxes",
        most_runs=2000,
    ),
    "clip_matroska": Reader(
        _videos(".mkv", {"codec": "ffv1", "sound": "libopus"}, {"codec": "ffv1", "layout": "bgr0"}),
        edit,
        most_runs=2000,
    ),
    "clip_avi": Reader(
        _videos(".avi", {"codec": "mjpeg", "layout": "yuvj420p", "color_range": 2}),
        edit,
        "riff",
        most_runs=2000,
    ),
    "clip_ts": Reader(_videos(".ts", {"sound": "aac"}), edit, most_runs=2000),
    "clip_gif": Reader(lambda: [animation("GIF")], edit, most_runs=2000),
    "clip_webp": Reader(lambda: [animation("WEBP")], edit, "riff", most_runs=2000),
    "clip_png": Reader(lambda: [animation("PNG")], edit, "png", most_runs=2000),
}
