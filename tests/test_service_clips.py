"""Clips by the HTTP service: in, out, refused, deleted, and taken up when a server has ended."""

import asyncio
import json
import threading

import av
import jax
import numpy as np
import pytest
from PIL import Image

from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.files.domain import Domain
from diffcam_jax.service.context import Context
from diffcam_jax.service.limits import Limits
from diffcam_jax.service.page import clip
from diffcam_jax.service.page.edits import Visit
from diffcam_jax.service.page.links import Form
from diffcam_jax.service.page.photograph import open_photograph
from diffcam_jax.service.queue import Queue
from diffcam_jax.service.store import JobStore
from diffcam_jax.service.work import worker
from diffcam_jax.video.opening import open_clip, read_frames
from tests import clip_files, small_editor
from tests.service_world import ended, form, photo, refused, serve, until

FRAMES, MOST, SIDE = 6, 8, small_editor.SIDE
ASKED = {"attributes": {"smiling": 2}, "raw_strength": True, "tune": 0}
LIMITS = Limits(per_minute=10_000, clip_frames=MOST)


@pytest.fixture(scope="module")
def editor():
    pipeline = small_editor.networks().replace(encoder=small_editor.encoder())
    squares = Domain("squares", SIDE, "square", licence="mine")
    return Editor(pipeline, small_editor.directions(), VARIANTS["product"], domain=squares)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder for clips that are sent."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def video(made):
    return write(made / "me.mp4", sound="aac")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def client(editor, root):
    with serve(server(editor, root)) as client:
        yield client


def write(path, frames=FRAMES, **choices):
    return clip_files.write_video(path, frames, (SIDE, SIDE), **choices)


def server(editor, root, listening=lambda progress: progress) -> Context:
    """The parts of a server.

    Args:
        editor: of clips.
        root: of its results.
        listening: from the listener of a job to the one that hears of its stages.
    """
    store = JobStore(root, 3600.0)
    edit = worker(editor, jax.devices()[0], store, LIMITS)
    return Context(Queue(store, [lambda job, told: edit(job, listening(told))], 20), editor, LIMITS)


def ask(client, path, settings=ASKED, name=None, **others):
    return client.post(
        "/api/edits", **form(settings, path.read_bytes(), name or path.name, **others)
    )


def done(client, path, **choices) -> dict:
    asked = ask(client, path, **choices)
    assert asked.status_code == 202, asked.text
    found = ended(client, asked.json()["id"])
    assert found["state"] == "done", found
    return found


def pictures(path) -> list[np.ndarray]:
    return [frame.pixels for frame in read_frames(open_clip(path))]


def test_a_video_is_edited_with_its_sound(client, video, tmp_path):
    found = done(client, video)
    links = found["links"]
    assert links["before"] is None and links["stages"] == {} and found["photo"] == "me.mp4"
    answer = client.get(links["result"])
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'inline; filename="me_edited.mp4"'
    result = tmp_path / "result.mp4"
    result.write_bytes(answer.content)
    before, after = pictures(video), pictures(result)
    assert len(after) == FRAMES
    assert all(np.abs(a.astype(int) - b).max() > 40 for a, b in zip(before, after, strict=True))
    assert clip_files.packets(result, "audio") == clip_files.packets(video, "audio")
    report = client.get(links["report"]).json()
    assert report["frames"] == FRAMES and report["photo"] == "me.mp4"
    assert report["settings"]["attributes"] == {"smiling": 2.0}
    sheet = client.get(links["sheet"])
    assert sheet.headers["content-type"] == "image/png"
    (tmp_path / "sheet.png").write_bytes(sheet.content)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.height > 2 * SIDE and picture.width > FRAMES * SIDE
    refused(client.get(f"/api/edits/{found['id']}/before"), 404, "no such part")


@pytest.mark.parametrize(("suffix", "kind"), [("gif", "image/gif"), ("webp", "image/webp")])
def test_an_animation_stays_one(client, tmp_path, suffix, kind):
    frames = [Image.fromarray(clip_files.picture(9 * i, SIDE, SIDE)) for i in range(3)]
    path = tmp_path / f"moves.{suffix}"
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=[40, 80, 40], lossless=True
    )
    # The content says what it is, whatever its name says.
    answer = client.get(done(client, path, name="me.png")["links"]["result"])
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"] == f'inline; filename="me_edited.{suffix}"'
    result = tmp_path / f"result.{suffix}"
    result.write_bytes(answer.content)
    pairs = zip(pictures(path), pictures(result), strict=True)
    assert all((before != after).any() for before, after in pairs)
    first = client.post(
        "/api/edits", **form({**ASKED, "first_frame": True}, path.read_bytes(), path.name)
    )
    links = ended(client, first.json()["id"])["links"]
    assert client.get(links["result"]).headers["content-type"] == "image/png"


def test_longer_clips_are_refused_and_sent_to_the_program(client, made, root):
    before = set(root.iterdir())
    long = write(made / "long.mp4", MOST + 1)
    line = refused(ask(client, long), 422, "long.mp4", f"{MOST} frames", "edit.py")
    assert str(root) not in line.text
    assert set(root.iterdir()) == before
    # Its header says nothing of how many frames follow.
    endless = write(made / "endless.y4m", MOST + 4, codec="rawvideo")
    found = ended(client, ask(client, endless).json()["id"])
    assert found["state"] == "failed" and f"more than {MOST} frames" in found["error"]


def audio(path):
    with av.open(str(path), "w") as out:
        tone = out.add_stream("aac", rate=48000, layout="mono")
        clip_files._write_tone(out, tone, 0.2)
    return path


def cut(path, source):
    path.write_bytes(source.read_bytes()[: source.stat().st_size // 3])
    return path


def test_what_is_no_clip_is_refused_in_one_line(client, video, made, root):
    before = set(root.iterdir())
    truncated = cut(made / "cut.mp4", video)
    (made / "text.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    for path, words in (
        (truncated, "truncated"),
        (audio(made / "tone.mp4"), "only sound"),
        (made / "text.mp4", "not a video"),
    ):
        line = refused(ask(client, path), 422, f"{path.name}: ", words)
        assert str(root) not in line.text
    assert set(root.iterdir()) == before


def test_a_clip_without_its_end_keeps_what_is_left_of_it(client, made):
    path = cut(made / "cut.mkv", write(made / "whole.mkv", options={"g": "1", "qp": "0"}))
    found = done(client, path)
    report = client.get(found["links"]["report"]).json()
    assert 0 < report["frames"] < FRAMES


@pytest.mark.parametrize(
    ("others", "settings", "words"),
    [
        ({"mask": photo()}, {}, "mask has no meaning"),
        ({"edited": photo()}, {}, "edited has no meaning"),
        ({}, {"stages": False, "strip": True}, "stages, strip has no meaning"),
        ({}, {"mask_mode": "union"}, "mask_mode"),
        ({}, {"first_frame": True}, "not a picture"),
    ],
)
def test_what_says_something_about_a_photograph_is_refused(client, video, others, settings, words):
    refused(ask(client, video, ASKED | settings, **others), 422, "me.mp4", words)


def test_networks_that_edit_no_clip_say_so(video, tmp_path):
    with serve(server(small_editor.editor(), tmp_path)) as client:
        refused(ask(client, video), 422, "edit photographs only")


def test_a_clip_without_a_face_fails_with_the_name_of_its_sender(editor, video, tmp_path):
    people = Editor(editor.networks, editor.directions, editor.config)
    with serve(server(people, tmp_path)) as client:
        found = ended(client, ask(client, video).json()["id"])
    assert found["state"] == "failed"
    assert found["error"].startswith(f"me.mp4: no face was found in any of {FRAMES} frames")


class Gate:
    """Holds a job at a stage, until it is opened."""

    def __init__(self, stage: str, done: int) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._held = stage, done

    def __call__(self, progress):
        def listen(stage, done=0, steps=1):
            progress(stage, done, steps)
            if (stage, done) == self._held:
                self.reached.set()
                assert self.open.wait(60)

        return listen


def test_progress_is_told_by_frames_and_a_deleted_clip_leaves_nothing(editor, video, tmp_path):
    gate = Gate("edit", 3)
    with serve(server(editor, tmp_path, gate)) as client:
        running, waiting = (ask(client, video).json()["id"] for _ in range(2))
        assert gate.reached.wait(60)
        found = client.get(f"/api/edits/{running}").json()
        progress = found["progress"]
        assert (progress["stage"], progress["done"], progress["steps"]) == ("edit", 3, FRAMES)
        assert 0 < progress["share"] < 1 and 0 <= found["seconds_left"] < 600
        later = client.get(f"/api/edits/{waiting}").json()["seconds_left"]
        assert found["seconds_left"] < later < 600
        assert (tmp_path / running / "work").is_dir()
        for id in (running, waiting):
            assert client.delete(f"/api/edits/{id}").status_code == 204
            refused(client.get(f"/api/edits/{id}"), 404)
        gate.open.set()
        until(lambda: list(tmp_path.iterdir()) == [tmp_path / ".temporary"])


def test_another_server_goes_on_with_what_was_found(editor, video, client, tmp_path):
    gate = Gate("edit", 2)
    first = server(editor, tmp_path, gate)
    with serve(first) as one:
        id = ask(one, video).json()["id"]
        assert gate.reached.wait(60)
        threading.Timer(0.2, gate.open.set).start()  # the server ends at the next frame
        assert first.queue.close(60.0)
    looked = tmp_path / id / "work" / "looked.safetensors"
    kept = looked.stat().st_mtime_ns
    stages = []

    def heard(progress):
        def listen(stage, done=0, steps=1):
            stages.append(stage)
            assert looked.stat().st_mtime_ns == kept
            progress(stage, done, steps)

        return listen

    with serve(server(editor, tmp_path, heard)) as two:
        links = ended(two, id)["links"]
        content = two.get(links["result"]).content
        report = json.loads(two.get(links["report"]).content)
    assert set(stages) == {"edit"} and report["frames"] == FRAMES
    assert not (tmp_path / id / "work").exists()
    undisturbed = client.get(done(client, video)["links"]["result"]).content
    assert content == undisturbed


def test_the_page_edits_a_clip_and_leaves_nothing_with_the_service(editor, video, made, tmp_path):
    parts = server(editor, tmp_path / "edits")
    visit, form = Visit(parts, tmp_path / "page", "127.0.0.1"), Form((("smiling", 2.0),), tune=0)

    async def edited(path):
        return [step async for step in clip.edit_clip(visit, path, form)]

    *waited, (told, kept) = asyncio.run(edited(video))
    assert all(step is None and "role=" in text for text, step in waited)
    assert f"{FRAMES} frames" in told and kept.result.name == "me.mp4"
    assert len(pictures(kept.result)) == FRAMES and kept.sheet.is_file()
    assert json.loads(kept.report.read_text())["settings"]["attributes"] == {"smiling": 2.0}
    (made / "photo.png").write_bytes(photo())
    with pytest.raises(UserError, match="photographs are edited on the first tab"):
        asyncio.run(edited(made / "photo.png"))
    with pytest.raises(UserError, match="on the tab for clips"):
        open_photograph(video, "me.mp4", 10_000_000, tmp_path)
    until(lambda: [path.name for path in (tmp_path / "edits").iterdir()] == [".temporary"])
    assert parts.queue.close(10.0)
