"""Parts of a video, and sound and subtitles of its clip, together without decoding anything."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from diffcam_jax.errors import UserError, no_room
from diffcam_jax.video import ffmpeg
from diffcam_jax.video.clip import Clip, VideoFacts

_MP4_SOUND = ("aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "flac", "alac")
# Few players know these in MP4, and the same ones know FFV1.
_MP4_LOSSLESS = ("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le")
_MP4_TEXT = ("mov_text",)  # which Matroska does not take
# What MP4 has fields for; everything else is kept as free keys.
_MP4_KEYS = {
    *("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre"),
    *("copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id"),
    *("network", "keywords", "creation_time", "location"),
}
# About the file that was, not about what it shows.
_OF_THE_FILE = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "rotate"),
    *("number_of_frames", "number_of_bytes", "bps", "handler_name", "vendor_id"),
}


class Part(NamedTuple):
    """A finished part.

    Attributes:
        path: its file.
        times: when its frames are shown, in units of the clip's time base.
        durations: for how long, 0 where the clip does not say.
    """

    path: Path
    times: Sequence[int]
    durations: Sequence[int]


def suffix(facts: VideoFacts, lossless: bool) -> str:
    """Of the file that holds pictures, sound and subtitles.

    MP4 keeps times and the shape of pixels as they are, of FFV1 as well (RFC 9043, section 4.3.3);
    Matroska takes every kind of sound, and subtitles of any kind but MP4's own.
    """
    return ".mkv" if _refused(facts, lossless) else ".mp4"


def _refused(facts: VideoFacts, lossless: bool) -> list[str]:
    """The codecs of sound and subtitles that MP4 does not take."""
    known = (*_MP4_SOUND, *_MP4_TEXT, *(_MP4_LOSSLESS if lossless else ()))
    return [codec for codec in (*facts.sound, *facts.text) if codec not in known]


def notes(facts: VideoFacts, lossless: bool) -> tuple[str, ...]:
    """What people should know about the file, a line each."""
    told, refused = [], _refused(facts, lossless)
    if not refused:
        if lossless and facts.tags.siting not in (None, "left"):
            told.append(f"the place of colour samples ({facts.tags.siting}) is not kept")
        return tuple(told)
    if any(codec in _MP4_TEXT for codec in facts.text):
        told.append("subtitles of MP4 are left out, for Matroska does not take them")
    if (1000 / facts.rate).denominator != 1 and (1000 * facts.time_base).denominator != 1:
        told.append(
            f"MP4 does not take {', '.join(refused)}, and Matroska rounds the times of frames to "
            "milliseconds"
        )
    if lossless and facts.aspect != 1:
        told.append(
            f"the pixels' aspect of {facts.aspect.numerator}:{facts.aspect.denominator} is not kept"
        )
    return tuple(told)


def join(clip: Clip, parts: Sequence[Part], out: Path, kind: str) -> None:
    """Writes pictures, sound, subtitles, chapters and what the clip says about itself.

    Args:
        clip: source of sound and subtitles.
        parts: in their order.
        out: file to write.
        kind: ".mp4" or ".mkv".

    Raises:
        UserError: the parts are of different encoders, or the clip has become unreadable.
    """
    av, facts = ffmpeg.load(), clip.video
    assert facts is not None
    with ffmpeg.written(out), ffmpeg.opened(clip.path) as source, ExitStack() as stack:
        keys = _kept(source.metadata)
        options = {"fflags": "+bitexact"}
        if kind == ".mp4":
            free = "" if {key.lower() for key in keys} <= _MP4_KEYS else "+use_metadata_tags"
            options["movflags"] = f"+faststart{free}"
            unit = facts.time_base.denominator
            options["video_track_timescale"] = str(unit)
            options["movie_timescale"] = str(unit if unit >= 1000 else unit * 1000)
        target = av.open(
            f"file:{out.absolute()}",
            "w",
            format="mp4" if kind == ".mp4" else "matroska",
            container_options=options,
        )
        stack.enter_context(target)
        target.metadata.update(keys)
        if chapters := source.chapters():
            target.set_chapters(chapters)
        with _part(parts[0]) as first:
            template = first.streams.video[0]
            pictures = target.add_stream_from_template(template, opaque=True)
            head, delay = template.codec_context.extradata, _delay(template)
        pictures.time_base = facts.time_base
        pictures.codec_context.framerate = facts.rate
        pictures.codec_context.sample_aspect_ratio = facts.aspect
        if (found := ffmpeg.picture(source)) is not None:
            pictures.metadata.update(_kept(found.metadata))
        copied = {}
        left_out = _MP4_TEXT if kind == ".mkv" else ()
        for stream in (*source.streams.audio, *source.streams.subtitles):
            codec = stream.codec_context
            if codec is not None and codec.name not in left_out:
                copied[stream.index] = made = target.add_stream_from_template(stream)
                made.metadata.update(_kept(stream.metadata))
                made.disposition = stream.disposition
        packets = [_pictures(parts, facts, pictures, head, delay)]
        if copied:
            packets.append(_others(source, copied, facts))
        for _, which, packet in heapq.merge(*packets, key=lambda entry: entry[:2]):
            try:
                target.mux(packet)
            except av.FFmpegError as error:
                if which == 0 or no_room(error):
                    raise  # damaged packets of others are left out


def _pictures(
    parts: Sequence[Part], facts: VideoFacts, stream: Any, head: bytes, delay: int
) -> Iterator[tuple[float, int, Any]]:
    """Packets of all parts as if one encoder had made them: (second, 0, packet).

    The n-th packet is decoded when frame n - delay is shown, as encoders have it.
    """
    times = [time for part in parts for time in part.times]
    step = times[1] - times[0] if len(times) > 1 else 1
    number, shown = 0, 0
    for part in parts:
        with _part(part) as container:
            template = container.streams.video[0]
            if template.codec_context.extradata != head or _delay(template) != delay:
                raise UserError(
                    f"{part.path}: is of another encoder than the parts before; remove the folder "
                    f"{part.path.parent} and run it again"
                )
            packets = [packet for packet in container.demux(template) if packet.size]
            order = {pts: i for i, pts in enumerate(sorted(packet.pts for packet in packets))}
            if len(order) != len(part.times):
                raise UserError(f"{part.path}: is damaged; remove it and run it again")
            for packet in packets:
                rank = order[packet.pts]
                pts = part.times[rank]
                early = number - delay
                dts = times[early] if early >= 0 else times[0] + early * step
                packet.time_base = facts.time_base
                packet.pts, packet.dts = pts, min(dts, pts)
                is_last = shown + rank + 1 == len(times)
                lasts = part.durations[rank] if is_last else 0
                packet.duration = lasts or _until_next(times, shown + rank, step)
                packet.stream = stream
                number += 1
                yield float(dts * facts.time_base), 0, packet
            shown += len(part.times)


def _others(
    source: Any, copied: dict[int, Any], facts: VideoFacts
) -> Iterator[tuple[float, int, Any]]:
    """Packets of sound and subtitles as they are: (second, 1, packet)."""
    packets = source.demux([stream for stream in source.streams if stream.index in copied])
    last = 0.0
    while True:
        try:
            packet = next(packets, None)
        except Exception:  # a truncated file, whose pictures have ended there, too
            return
        if packet is None:
            return
        if not packet.size:
            continue
        ahead = round(facts.start / 1_000_000 / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - ahead
        packet.dts = None if packet.dts is None else packet.dts - ahead
        when = packet.dts if packet.dts is not None else packet.pts
        last = last if when is None else max(last, float(when * packet.time_base))
        packet.stream = copied[packet.stream.index]
        yield last, 1, packet


def _part(part: Part) -> Any:
    return ffmpeg.opened(part.path)


def _delay(stream: Any) -> int:
    """Frames by which an encoder's order runs ahead."""
    return int(stream.codec_context.reorder_depth)


def _until_next(times: Sequence[int], number: int, step: int) -> int:
    if number + 1 < len(times):
        return times[number + 1] - times[number]
    return times[number] - times[number - 1] if number else step


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _OF_THE_FILE and not key.startswith("_STATISTICS")
    }
