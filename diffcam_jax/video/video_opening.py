"""What a video says of itself, and what of it cannot be edited."""

import contextlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from diffcam_jax.errors import UserError
from diffcam_jax.video import ffmpeg, stored
from diffcam_jax.video.clip import MOST_PIXELS, Clip, Tags, VideoFacts, check_size
from diffcam_jax.video.planes import MATRICES, UPRIGHT, Colours, Turn, turned_layout

_HDR = {16: "PQ", 18: "HLG"}
_TO_SDR = (
    "-vf zscale=t=linear:npl=100,tonemap=hable,zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"
)
_SITINGS = "left|center|topleft|top|bottomleft|bottom"
_FASTEST = 1000  # frames in a second; what is beyond is no rate but a unit of time
_LONGEST = 10**9  # seconds


def open_video(path: Path) -> Clip:
    """Opens a video file, see `opening.open_clip`."""
    with ffmpeg.opened(path) as container:
        stream = ffmpeg.picture(container)
        if stream is None:
            raise UserError(f"{path}: has no moving picture, only sound; give a file with a video")
        context = stream.codec_context
        if context is None:
            raise UserError(f"{path}: its codec is not known; convert it: {_convert(path)}")
        check_size(path, context.width, context.height, "video")
        first = _first_frame(path, container, stream)
        check_size(path, first.width, first.height, "video")
        return _clip(path, container, stream, first)


def limited(context: Any) -> None:
    """Has a decoder refuse what is too large, keep what is damaged, and work in this thread alone.

    In this thread, FFmpeg's complaints are those about the packet that is being decoded.
    """
    context.options = {"max_pixels": str(MOST_PIXELS)}
    context.thread_count = 1
    context.flags |= 8  # AV_CODEC_FLAG_OUTPUT_CORRUPT


def _first_frame(path: Path, container: Any, stream: Any) -> Any:
    """The first frame that can be decoded."""
    limited(stream.codec_context)
    why = "it has no frames"
    try:
        for packet in container.demux(stream):
            with ffmpeg.complaints() as told, contextlib.suppress(ValueError):
                for frame in packet.decode():
                    return frame
            why = told[-1] if told else why
    except Exception as error:  # a hostile file can make a decoder raise anything at all
        why = getattr(error, "strerror", None) or str(error)
    raise UserError(f"{path}: no frame can be decoded ({why}); get a fresh copy of it")


def _clip(path: Path, container: Any, stream: Any, frame: Any) -> Clip:
    notes: list[str] = []
    layout = _layout(path, frame)
    turn = _turn(path, frame)
    tags = _tags(container, stream, frame, turn)
    colours = _colours(path, frame, tags)
    width, height = frame.width, frame.height
    upright = turned_layout(layout, turn, width, height)
    if upright != layout:
        notes.append(f"turned upright, {layout.name} becomes {upright.name}, without a loss")
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    if turn.transposed:
        width, height, aspect = height, width, 1 / aspect
    rate = next(
        (r for r in (stream.average_rate, stream.guessed_rate) if r and 0 < r <= _FASTEST), None
    )
    sound, text = (
        tuple(s.codec_context.name for s in streams if s.codec_context)
        for streams in (container.streams.audio, container.streams.subtitles)
    )
    if left_out := len(container.streams) - 1 - len(sound) - len(text):
        notes.append(
            f"of {len(container.streams)} streams {left_out} are left out: further pictures and "
            "data"
        )
    seconds = _seconds(container, stream)
    frames = stream.frames or None
    if frames is None and seconds and rate:
        frames = max(1, round(seconds * rate))
    facts = VideoFacts(
        upright, colours, tags, Fraction(rate or 25), Fraction(stream.time_base), turn, aspect,
        sound, text, _start(container),
    )  # fmt: skip
    return Clip(path, "video", width, height, frames, seconds, tuple(notes), facts)


def _layout(path: Path, frame: Any) -> Any:
    name = frame.format.name
    layout = stored.known(name)
    if layout is not None:
        return layout
    alpha = any(component.is_alpha for component in frame.format.components)
    if alpha and not frame.format.has_palette:
        raise UserError(
            f"{path}: has transparency ({name}), which no H.264 keeps; flatten it: {_convert(path)}"
        )
    raise UserError(f"{path}: frames of kind {name} are not known; convert it: {_convert(path)}")


def _tags(container: Any, stream: Any, frame: Any, turn: Turn) -> Tags:
    full = 2 if frame.format.name.startswith("yuvj") else int(frame.color_range)
    siting = _siting(container, stream)
    if turn != UPRIGHT and siting != "center":
        siting = None  # not every place has a name
    return Tags(
        full,
        int(frame.color_primaries),
        int(frame.color_trc),
        int(frame.colorspace),
        siting,
    )


def _siting(container: Any, stream: Any) -> str | None:
    """The place of chroma samples, of which PyAV knows only in FFmpeg's description of a file."""
    av = ffmpeg.load()
    level = av.logging.get_level()
    av.logging.set_level(av.logging.VERBOSE)
    av.logging.set_libav_level(av.logging.VERBOSE)
    try:
        lines = container.dumps_format().splitlines()
    finally:
        av.logging.set_libav_level(av.logging.INFO)
        av.logging.set_level(level)
    line = next((x for x in lines if x.lstrip().startswith(f"Stream #0:{stream.index}")), "")
    found = re.search(rf"\((?:[^()]*, )?({_SITINGS})\)", line)
    return found[1] if found else None


def _colours(path: Path, frame: Any, tags: Tags) -> Colours:
    if tags.transfer in _HDR:
        raise UserError(
            f"{path}: is HDR ({_HDR[tags.transfer]}), whose light the networks have never seen; "
            f"convert it to SDR: {_convert(path, _TO_SDR)}"
        )
    if frame.interlaced_frame:
        raise UserError(
            f"{path}: is interlaced, so each frame shows two moments, and an edit would tear; "
            f"convert it: {_convert(path, '-vf bwdif')}"
        )
    gray = frame.format.name.startswith(("gray", "mono"))
    # ITU-T H.273 and habit: what says nothing is BT.709 where it is high definition.
    unsaid = 1 if frame.height >= 720 else 6
    number = unsaid if tags.matrix in (0, 2, 3) else tags.matrix
    if number not in MATRICES:
        raise UserError(
            f"{path}: samples of matrix {number} are not known; convert it: "
            f"{_convert(path, '-vf scale=out_color_matrix=bt709')}"
        )
    return Colours(*MATRICES[number], tags.range == 2 or (gray and tags.range == 0))


def _turn(path: Path, frame: Any) -> Turn:
    for data in frame.side_data.keys():  # noqa: SIM118 — these are the data themselves
        if data.type.name == "DISPLAYMATRIX":
            turn = stored.turn_of(bytes(data))
            if turn is None:
                raise UserError(
                    f"{path}: is to be shown turned by other than quarter turns; turn it first: "
                    f"{_convert(path)}"
                )
            return turn
    return UPRIGHT


def _start(container: Any) -> int:
    """Files begin when their streams say so; broadcasts at any time of a clock."""
    if container.format.name.startswith(("mov", "matroska")):
        return 0
    return max(0, int(container.start_time or 0))


def _seconds(container: Any, stream: Any) -> float | None:
    found = None
    if stream.duration:
        found = float(stream.duration * stream.time_base)
    elif container.duration:
        found = container.duration / 1e6
    return found if found is not None and 0 < found < _LONGEST else None


def _convert(path: Path, options: str = "-pix_fmt yuv420p") -> str:
    return f"ffmpeg -i {path.name} {options} -crf 12 converted.mp4"
