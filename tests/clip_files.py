"""Small clips, made with PyAV and Pillow."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, FRAMES, RATE = 64, 48, 12, 25


# Without styles FFmpeg opens no encoder of subtitles.
_STYLES = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Text
"""


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A smooth picture in which something moves: uint8 [h, w, 3]."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = [60 + x * 120 // width + number, 70 + y * 100 // height, 150 - x * 60 // width]
    return np.stack(pixels, -1).astype(np.uint8)


def write_video(
    path: Path,
    frames: int = FRAMES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    layout: str = "yuv420p",
    codec: str = "libx264",
    sound: str | None = None,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    rotation: tuple[float, bool, bool] | None = None,
    draw: Any = picture,
    **tags: Any,
) -> Path:
    """Writes a video.

    Args:
        path: its suffix says which container.
        frames: how many.
        size: width and height.
        layout: FFmpeg's name of the pixel format.
        codec: of pictures.
        sound: codec of a tone, None for silence.
        times: of frames in thousandths of the time of a frame.
        options: of the encoder.
        container: options of the container.
        metadata: of the container.
        rotation: degrees, and whether it is mirrored left and right, top and bottom.
        draw: from number, width and height to pixels.
        tags: attributes of the encoder and the frames.
    """
    base = Fraction(1, RATE * 1000)
    with av.open(str(path), "w", container_options=container or {}) as out:
        out.metadata.update(metadata or {})
        stream = out.add_stream(codec, rate=RATE, options={"threads": "1", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, layout
        stream.codec_context.time_base = base
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        tone = out.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number, *size)).reformat(
                format=layout,
                dst_colorspace=tags.get("colorspace", 5),
                dst_color_range=tags.get("color_range", 1),
            )
            frame.pts, frame.time_base = (times or range(0, frames * 1000, 1000))[number], base
            for name, value in tags.items():
                if name != "sample_aspect_ratio":
                    setattr(frame, name, value)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if tone is not None:
            _write_tone(out, tone, frames / RATE)
    if rotation is not None:
        _rotate(path, rotation)
    return path


def _write_tone(out: Any, stream: Any, seconds: float) -> None:
    wave = np.sin(np.arange(int(48000 * seconds)) / 20) * 0.3
    frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    resampler = av.AudioResampler(stream.format, "mono", 48000)
    for part in [*resampler.resample(frame), None]:
        out.mux(stream.encode(part))


def with_text(clip: Path, path: Path, codec: str, lines: Sequence[str]) -> Path:
    """Copies a clip and adds subtitles, a line every tenth of a second.

    Args:
        clip: to be copied.
        path: of the copy.
        codec: "mov_text" in MP4, "subrip" in Matroska.
        lines: of text.
    """
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        text = out.add_stream(codec)
        text.metadata["language"] = "deu"
        text.codec_context.subtitle_header = _STYLES.encode()
        found = [packet for packet in source.demux() if packet.size]
        for packet in found:
            packet.stream = streams[packet.stream_index]
        for number, line in enumerate(lines):
            head = len(line).to_bytes(2, "big") if codec == "mov_text" else b""
            packet = av.Packet(head + line.encode())
            packet.time_base, packet.stream = Fraction(1, 1000), text
            packet.pts = packet.dts = 100 * number
            packet.duration = 100
            found.append(packet)
        for packet in found:
            out.mux(packet)
    return path


def _rotate(path: Path, rotation: tuple[float, bool, bool]) -> None:
    straight = path.with_stem("straight")
    path.rename(straight)
    with av.open(str(straight)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.set_display_rotation(*rotation)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    straight.unlink()


def packets(path: Path, kind: str = "video") -> list[bytes]:
    """The content of every packet of the first stream of a kind."""
    with av.open(str(path)) as source:
        stream = getattr(source.streams, kind)[0]
        return [bytes(packet) for packet in source.demux(stream) if packet.size]


def stored(path: Path) -> list[tuple[Any, list[np.ndarray]]]:
    """Every frame as FFmpeg decodes it: when it is shown in seconds, and its planes."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        return [(frame.pts * stream.time_base, planes(frame)) for frame in source.decode(stream)]


def planes(frame: Any) -> list[np.ndarray]:
    """Copies of the planes of a frame of planar samples."""
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    size = np.dtype(kind).itemsize
    return [
        np.frombuffer(plane, kind).reshape(-1, plane.line_size // size)[:, : plane.width].copy()
        for plane in frame.planes
    ]


def damage(path: Path, number: int, head: int = 16, length: int | None = None) -> Path:
    """Spoils a packet of pictures behind its first bytes; the file around it stays whole."""
    with av.open(str(path)) as source:
        found = [p for p in source.demux(source.streams.video[0]) if p.size][number]
        start = found.pos + head
        end = found.pos + found.size if length is None else start + length
    data = bytearray(path.read_bytes())
    data[start:end] = np.random.default_rng(0).integers(0, 256, end - start, np.uint8).tobytes()
    path.write_bytes(data)
    return path
