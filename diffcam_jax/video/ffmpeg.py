"""FFmpeg by way of PyAV: loaded late, silent, and confined to single files of known kinds."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffcam_jax.errors import UserError

# A playlist names other files, and the network; so only files that are whole by themselves.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,mxf,mxf_opatom,nut,ivf,"
    "yuv4mpegpipe,dv"
)


def load() -> Any:
    """The package `av`, whose messages go nowhere but to `complaints`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"videos need the package av ({error}); pip install 'diffcam_jax[video]'"
        ) from error
    if av.logging.get_level() is None:
        log = logging.getLogger("libav")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.ERROR)
    return av


@contextlib.contextmanager
def complaints(of: str = "") -> Iterator[list[str]]:
    """The errors that FFmpeg tells of in this thread while the block runs.

    Args:
        of: name of the part of FFmpeg that tells them; "" for all.
    """
    av = load()
    told: list[str] = []
    with av.logging.Capture() as logs:
        try:
            yield told
        finally:
            told += [
                " ".join(text.split())
                for level, name, text in logs
                if level <= av.logging.ERROR and of in ("", name)
            ]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opens a file for reading.

    Raises:
        UserError: it is missing, or no video that FFmpeg knows.
    """
    av = load()
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the name")
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    with complaints() as told:
        try:
            container = av.open(
                f"file:{os.path.abspath(path)}", container_options=options, metadata_errors="ignore"
            )
        except Exception as error:  # a hostile file can make a parser raise anything at all
            failed = error
        else:
            failed = None
    if failed is not None:
        why = told[-1] if told else getattr(failed, "strerror", None) or str(failed)
        if "whitelist" in why:
            why = "its format is none of those that are read"
        # FFmpeg itself refuses what claims more than 2 GiB; no memory of this process is short.
        cause = None if isinstance(failed, MemoryError) else failed
        raise UserError(
            f"{path}: not a video, or truncated or damaged ({why}); get a fresh copy of it"
        ) from cause
    with container:
        yield container


def picture(container: Any) -> Any | None:
    """The stream of pictures of an open file; None where there is none but, say, a cover."""
    av = load()
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover), None)


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Makes what FFmpeg refuses to write a `UserError`; what the system refuses passes.

    Raises:
        UserError: the block raised an error of FFmpeg's own.
    """
    try:
        yield
    except load().FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            raise
        raise UserError(
            f"{path}: what the clip holds does not fit into the file ({error.strerror}); have "
            "FFmpeg save the clip anew"
        ) from error
