"""Clips of known truth: a drawn person who turns, blinks and speaks, seen by a camera that moves.

Every frame is drawn by the embedded generator from a code that moves, and shown through a window
that pans, zooms and shakes; an object passes before the face; noise is added.
"""

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from diffcam_jax.editor.editor import Editor
from diffcam_jax.faces.warping import warp

WIDTH, HEIGHT, RATE = 640, 480, 25
_SIDE = 1024  # of the drawn picture that the camera sees


@dataclasses.dataclass(frozen=True)
class Scene:
    """What happens in a clip.

    Attributes:
        seed: of the person.
        frames: number.
        turn: largest strength of the turn of the head.
        speech: largest strength of the opening of the mouth.
        shake: of the camera, in pixels.
        occluder: whether a ball passes before the face.
        noise: standard deviation of every sample, of 255.
    """

    seed: int
    frames: int = 50
    turn: float = 0.5
    speech: float = 0.6
    shake: float = 1.5
    occluder: bool = False
    noise: float = 2.0


SCENES = {
    "still": Scene(5, turn=0.0, speech=0.0),
    "speaks": Scene(19),
    "turns": Scene(10, turn=0.9, speech=0.2),
    "hidden": Scene(22, occluder=True),
}


def frames(editor: Editor, scene: Scene) -> Iterator[np.ndarray]:
    """The frames of a scene, uint8 [480, 640, 3]."""
    import jax

    from diffcam_jax.nn.latents import latent_stats

    generator = editor.networks.generator
    stats = latent_stats(*generator, jax.random.key(0))
    z = jax.random.normal(jax.random.key(scene.seed), (1, 512))
    w = stats.mean + 0.7 * (generator(z, method="mapping")[0] - stats.mean)
    code = np.tile(np.asarray(w), (editor.directions["yaw"].array.shape[0], 1))
    draw = jax.jit(lambda g, w: g(w, method="synthesis", size=_SIDE))
    rng = np.random.default_rng(scene.seed)
    shake = np.cumsum(rng.normal(0, scene.shake, (scene.frames, 2)), 0)
    shake -= np.linspace(0, 1, scene.frames)[:, None] * shake[-1]
    for i in range(scene.frames):
        phase = 2 * np.pi * i / RATE
        moved = code + scene.turn * np.sin(0.4 * phase) * editor.directions["yaw"].array
        moved = moved + scene.speech * max(0.0, np.sin(1.3 * phase)) * _opening(editor)
        picture = np.asarray(draw(generator, moved[None].astype(np.float32)))[0] / 2 + 0.5
        yield _seen(picture, scene, i, shake[i], rng)


def _opening(editor: Editor) -> np.ndarray:
    return editor.directions["mouth_open"].array


def _seen(picture, scene: Scene, i: int, shake, rng) -> np.ndarray:
    """What the camera sees of a drawn picture."""
    if scene.occluder:
        picture = _with_ball(picture, i / scene.frames)
    phase = 2 * np.pi * i / scene.frames
    zoom = 1.4 + 0.05 * np.sin(phase)
    centre = np.array([_SIDE / 2 + 25 * np.sin(phase), _SIDE / 2]) + shake
    # Place in the picture of a pixel of the frame: scaled around the middle.
    to_picture = np.array(
        [
            [zoom, 0, centre[0] - zoom * WIDTH / 2],
            [0, zoom, centre[1] - zoom * HEIGHT / 2],
            [0, 0, 1],
        ]
    )
    frame = warp(picture.astype(np.float32), to_picture, WIDTH, HEIGHT)
    frame = frame * 255 + rng.normal(0, scene.noise, frame.shape)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def _with_ball(picture: np.ndarray, share: float) -> np.ndarray:
    """A striped ball on its way across the lower half of the face."""
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    dx, dy = x - (-0.2 + 1.4 * share), y - 0.68
    inside = np.hypot(dx, dy) < 0.11
    light = 0.55 + 0.4 * (1 - np.hypot(dx + 0.03, dy + 0.03) / 0.14)
    stripes = np.where(np.sin(90 * dx) > 0, 1.0, 0.45)
    ball = (light * stripes)[..., None] * np.array([0.2, 0.75, 0.35])
    return np.where(inside[..., None], ball.clip(0, 1), picture)


def write(path: Path, pictures: Iterator[np.ndarray]) -> int:
    """Writes frames as an H.264 clip as a camera would, and returns their number."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        count = 0
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            count += 1
        container.mux(stream.encode())
    return count
