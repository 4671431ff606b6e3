"""Frames of a video, decoded one after the other."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from diffcam_jax.errors import UserError
from diffcam_jax.video import ffmpeg, stored
from diffcam_jax.video.clip import Clip, Frame, Samples
from diffcam_jax.video.planes import to_rgb, turned, turned_layout
from diffcam_jax.video.video_opening import limited

# Complaints about the bookkeeping of references, which leave the picture whole.
_HARMLESS = ("mmco: unref short failure", "number of reference frames", "co located POCs")


def read_video(clip: Clip, start: int, damaged: list[str]) -> Iterator[Frame]:
    """Decodes a video, see `opening.read_frames`."""
    facts = clip.video
    assert facts is not None
    began, last = None, None
    for number, (frame, reason) in enumerate(_decoded(clip, damaged)):
        pts = frame.pts
        if pts is None or (last is not None and pts <= last):  # times that no player can show
            step = max(1, round(1 / (facts.rate * facts.time_base)))
            pts = 0 if last is None else last + step
        began, last = pts if began is None else began, pts
        _check(clip, number, frame)
        if reason:
            damaged.append(
                f"frame {number} ({_time(pts - began, facts.time_base):.2f} s): {reason}"
            )
        if number >= start:
            layout = stored.known(frame.format.name)
            assert layout is not None
            planes = turned(stored.planes_of(frame, layout), layout, facts.turn)
            pixels = to_rgb(planes, facts.layout, facts.colours)
            samples = Samples(planes, pts - facts.ahead, max(0, int(frame.duration or 0)))
            yield Frame(number, _time(pts - began, facts.time_base), pixels, samples, reason)


def _decoded(clip: Clip, damaged: list[str]) -> Iterator[tuple[Any, str | None]]:
    """Decoded frames in the order of display, each with why it cannot be trusted."""
    with ffmpeg.opened(clip.path) as container:
        stream = ffmpeg.picture(container)
        if stream is None:
            raise UserError(f"{clip.path}: has changed while it was read; run it again")
        limited(stream.codec_context)
        reasons: dict[int, str] = {}
        for packet in _packets(container, stream, damaged):
            frames, reason = _decode(packet)
            if reason and packet.pts is not None:
                reasons[packet.pts] = reason
            for frame in frames:
                told = reasons.pop(frame.pts, None)
                if frame.is_corrupt:
                    told = told or "what it refers to is missing"
                if frame.interlaced_frame:
                    told = told or "it is interlaced"
                lost = [pts for pts in reasons if frame.pts is not None and pts < frame.pts]
                _tell_lost(reasons, lost, stream.time_base, damaged)
                yield frame, told
        _tell_lost(reasons, list(reasons), stream.time_base, damaged)


def _packets(container: Any, stream: Any, damaged: list[str]) -> Iterator[Any]:
    """Packets up to the end, or to where the file is damaged beyond reading."""
    packets = container.demux(stream)
    while True:
        with ffmpeg.complaints(container.format.name) as told:
            try:
                packet = next(packets, None)
            except Exception as error:  # a hostile file can make a parser raise anything at all
                packet = None
                damaged.append(f"the file is truncated or damaged: {_said(error)}")
        if told:
            damaged.append(f"the file is truncated or damaged: {told[-1]}")
        if packet is None:
            return
        yield packet


def _decode(packet: Any) -> tuple[list[Any], str | None]:
    with ffmpeg.complaints() as told:
        try:
            frames, failed = packet.decode(), None
        except Exception as error:  # a hostile file can make a decoder raise anything at all
            frames, failed = [], _said(error)
    told = [text for text in told if not any(x in text for x in _HARMLESS)]
    if packet.is_corrupt and not told:
        told = ["its data are incomplete"]
    return frames, told[0] if told else failed


def _tell_lost(
    reasons: dict[int, str], lost: list[int], time_base: Fraction, damaged: list[str]
) -> None:
    """Tells of packets that made no frame: the frame before is shown for longer."""
    for pts in sorted(lost):
        damaged.append(
            f"the frame at {_time(pts, time_base):.2f} s cannot be decoded and is left out: "
            f"{reasons.pop(pts)}"
        )


def _check(clip: Clip, number: int, frame: Any) -> None:
    facts = clip.video
    assert facts is not None
    width, height = frame.width, frame.height
    if facts.turn.transposed:
        width, height = height, width
    layout = stored.known(frame.format.name)
    same = (
        layout is not None
        and turned_layout(layout, facts.turn, frame.width, frame.height) == facts.layout
    )
    if (width, height) != (clip.width, clip.height) or not same:
        raise UserError(
            f"{clip.path}: from frame {number} on the picture has another form "
            f"({frame.format.name} {width}x{height}); convert it: ffmpeg -i {clip.path.name} "
            "-crf 12 converted.mp4"
        )


def _time(units: int, time_base: Fraction) -> float:
    return float(units * time_base)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
