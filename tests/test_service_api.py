"""The HTTP service with a real editor: from the photograph to the result, and every refusal."""

import errno
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.faces import photo as photo_files
from diffcam_jax.service.limits import Limits
from tests import small_editor
from tests.service_world import (
    SMILE,
    context,
    editor,
    encoded,
    ended,
    form,
    photo,
    refused,
    serve,
    until,
)
from tests.test_edit_script import bomb


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFCAM_HOME", str(root / "home"))
        yield context(root / "edits")


@pytest.fixture(scope="module")
def client(parts):
    with serve(parts) as client:
        yield client


@pytest.fixture(scope="module")
def edit(client):
    """An edit that is done."""
    asked = client.post("/api/edits", **form(name="../me & you.png"))
    assert asked.status_code == 202, asked.text
    made = ended(client, asked.json()["id"])
    assert made["state"] == "done", made
    return made


def picture(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def test_an_edit_is_that_of_the_editor(client, edit):
    assert edit["photo"] == "me & you.png" and edit["progress"] is None and edit["error"] is None
    assert edit["created"] < edit["expires"] and edit["created"].endswith("Z")
    result = client.get(edit["links"]["result"])
    assert result.headers["content-type"] == "image/png"
    assert (
        result.headers["content-disposition"]
        == "inline; filename*=utf-8''me%20%26%20you_edited.png"
    )
    assert result.headers["cache-control"] == "no-store"
    pixels = picture(photo())
    own = editor().edit(pixels, {"smiling": 1.0}, aligned=True)
    np.testing.assert_array_equal(picture(result.content), own.image)
    np.testing.assert_array_equal(picture(client.get(edit["links"]["before"]).content), pixels)
    report = client.get(edit["links"]["report"])
    assert report.headers["content-type"] == "application/json"
    assert report.json()["settings"]["attributes"] == {"smiling": 1.0}
    assert report.json()["strengths"] == {"smiling": 1.0}
    stages = edit["links"]["stages"]
    assert {"aligned", "inverted", "edited", "mask", "fused"} <= set(stages)
    for link in stages.values():
        assert client.get(link).headers["content-type"] == "image/png"


def test_what_is_asked_for_is_answered_at_once(client, parts):
    asked = client.post("/api/edits", **form())
    made = asked.json()
    assert asked.status_code == 202
    assert asked.headers["location"] == made["links"]["self"] == f"/api/edits/{made['id']}"
    assert re.fullmatch("[0-9a-f]{32}", made["id"]) and made["links"]["result"] is None
    assert made["state"] in ("waiting", "running", "done")
    ended(client, made["id"])
    assert client.delete(f"/api/edits/{made['id']}").status_code == 204
    for path in ("", "/result", "/report", "/before", "/stages/mask"):
        refused(client.get(f"/api/edits/{made['id']}{path}"), 404)
    refused(client.delete(f"/api/edits/{made['id']}"), 404)
    assert not (parts.store.root / made["id"]).exists()


def test_16_bits_and_transparency_are_kept(client):
    side = small_editor.SIDE
    pixels = small_editor.photograph(size=(side, side))
    see_through = np.dstack([pixels, np.full((side, side), 77, np.uint8)])
    asked = client.post("/api/edits", **form(content=encoded(see_through)))
    result = picture(client.get(ended(client, asked.json()["id"])["links"]["result"]).content)
    assert result.shape == (side, side, 4) and (result[..., 3] == 77).all()


def test_a_mask_confines_the_edit_and_stages_may_be_left_out(client):
    side = small_editor.SIDE
    mask = np.zeros((side, side), np.uint8)
    mask[:, : side // 2] = 255
    asked = client.post("/api/edits", **form({**SMILE, "stages": False}, mask=encoded(mask)))
    made = ended(client, asked.json()["id"])
    assert made["links"]["stages"] == {}
    changed = (picture(client.get(made["links"]["result"]).content) != picture(photo())).any(-1)
    assert changed[:, : side // 2 - 4].any() and not changed[:, side // 2 + 2 :].any()


def test_a_mask_of_another_size_fails_with_a_line(client):
    asked = client.post("/api/edits", **form(mask=encoded(np.zeros((64, 80), np.uint8))))
    made = ended(client, asked.json()["id"])
    assert made["state"] == "failed" and "equal sizes" in made["error"]
    refused(client.get(f"/api/edits/{made['id']}/result"), 409, "has failed", "equal sizes")


def test_a_full_disk_fails_the_edit_with_its_reason(client, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(photo_files, "write_atomically", full)
    made = ended(client, client.post("/api/edits", **form()).json()["id"])
    assert made["error"] == "the disk of the server is full; try again later"


PNG = {"photo": ("me.png", photo())}
TEXT = json.dumps(SMILE)


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"files": {"photo": ("a.png", b"no picture")}, "data": {"settings": TEXT}}, 422, "a.png:"),
        ({"files": {"photo": ("a.png", b"")}, "data": {"settings": TEXT}}, 422, "empty"),
        ({"files": {"mask": ("m.png", photo())}, "data": {"settings": TEXT}}, 422, "no photograph"),
        ({"files": PNG | {"mask": ("m", b"x")}, "data": {"settings": TEXT}}, 422, "the mask:"),
        ({"files": PNG | {"mask": ("m", b"")}, "data": {"settings": TEXT}}, 422, "the mask:"),
        ({"files": PNG}, 422, "nothing to change"),
        ({"files": PNG, "data": {"settings": "{"}}, 422, "not JSON"),
        ({"files": PNG, "data": {"settings": "[" * 9999}}, 422, "not JSON"),
        ({"files": PNG, "data": {"settings": "x" * 200_000}}, 413, "settings are too large"),
        ({"files": PNG, "data": {"settings": '{"attributes": {"x": 1}}'}}, 422, "choose from"),
        (
            {"files": PNG, "data": {"settings": '{"attributes": ["old"], "method": "both"}'}},
            422,
            "alignment network",
        ),
        (form(edited=photo()), 422, "made elsewhere"),
        ({"files": {"photo ": ("a", b"x")}}, 400, "'photo '"),
        ({"files": [("photo", ("a", b"x")), ("photo", ("b", b"x"))]}, 400, "two parts photo"),
        ({"data": {"settings": TEXT}}, 415, "send a form"),
        ({"json": SMILE}, 415, "send a form"),
        ({"content": b""}, 415, "send a form"),
    ],
)
def test_what_cannot_be_edited_is_refused_at_once(client, parts, given, status, words):
    before = set(parts.store.root.iterdir())
    refused(client.post("/api/edits", **given), status, words)
    assert set(parts.store.root.iterdir()) == before


CUT_OFF = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\nx\r\n--'
DAMAGED = [
    b"",
    b"--b",
    b"--b\r\n",
    b"--b\r\nno header\r\n\r\n",
    b"--b--\r\nx",
    b"\0" * 100,
    CUT_OFF,
]
NAMES = ["x\r\nX-Evil: 1.png", "\x1b[31mred.png", "\u202egnp.exe", "ü" * 300]


@pytest.mark.parametrize("body", DAMAGED)
def test_a_damaged_form_is_refused(client, parts, body):
    before = set(parts.store.root.iterdir())
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/api/edits", content=body, headers=kind)
    assert answer.status_code in (400, 422)
    refused(answer, answer.status_code)
    assert set(parts.store.root.iterdir()) == before


def test_a_file_that_was_not_chosen_is_none(client):
    given = form()
    given["files"] |= {"mask": ("", b"", "application/octet-stream")}
    assert client.post("/api/edits", **given).status_code == 202


def test_a_header_that_claims_too_many_pixels_is_refused(client, tmp_path):
    content = bomb(tmp_path / "bomb.png").read_bytes()
    refused(client.post("/api/edits", **form(content=content)), 422, "far too many pixels")


@pytest.mark.parametrize(
    "name", ["x\r\nX-Evil: 1.png", "\x1b[31mred.png", "\u202egnp.exe", "ü" * 300]
)
def test_names_are_shown_without_what_a_terminal_obeys(client, name):
    shown = client.post("/api/edits", **form(name=name)).json()["photo"]
    assert shown.isprintable() and len(shown) <= 100
    refused(client.post("/api/edits", **form(name=name, content=b"x")), 422)


def test_an_edit_in_progress_has_no_result_yet(tmp_path):
    steps = []

    def work(job, progress):
        while True:
            progress("tuning", 5, 20)
            steps.append(job.id)

    with serve(context(tmp_path, [work])) as client:
        ids = [client.post("/api/edits", **form()).json()["id"] for _ in range(3)]
        until(lambda: steps)
        running, waiting = (client.get(f"/api/edits/{id}").json() for id in ids[:2])
        assert running["state"] == "running" and running["position"] is None
        progress = running["progress"]
        assert (progress["stage"], progress["done"], progress["steps"]) == ("tuning", 5, 20)
        assert 0 <= progress["share"] < 1 and running["seconds_left"] == pytest.approx(
            progress["seconds_left"], abs=1
        )
        assert waiting["state"] == "waiting" and waiting["position"] == 0
        assert waiting["seconds_left"] > running["seconds_left"]
        refused(client.get(f"/api/edits/{ids[0]}/result"), 409, "not done yet")
        assert client.get("/health").json()["waiting"] == 2
        for id in ids:
            assert client.delete(f"/api/edits/{id}").status_code == 204
            refused(client.get(f"/api/edits/{id}"), 404)
        until(lambda: list(tmp_path.iterdir()) == [tmp_path / ".temporary"])


def test_a_full_queue_and_a_busy_client_are_told_when_to_come_again(tmp_path):
    def work(job, progress):
        while True:
            progress("tuning")

    limits = Limits(per_minute=4)
    with serve(context(tmp_path, [work], waiting=1, limits=limits)) as client:
        first = client.post("/api/edits", **form()).json()["id"]
        until(lambda: client.get(f"/api/edits/{first}").json()["state"] == "running")
        assert client.post("/api/edits", **form()).status_code == 202
        full = refused(client.post("/api/edits", **form()), 503, "as many edits wait", "try again")
        assert int(full.headers["retry-after"]) >= 1
        assert client.post("/api/edits", **form()).status_code == 503
        often = refused(client.post("/api/edits", **form()), 429, "too many edits")
        assert 1 <= int(often.headers["retry-after"]) <= 15
        assert client.get(f"/api/edits/{first}").status_code == 200, "only edits are counted"
        assert len(list(tmp_path.iterdir())) == 3


def test_attributes_and_health(client):
    found = {one["name"]: one for one in client.get("/api/attributes").json()}
    assert found["smiling"] == {"name": "smiling", "lowest": -2, "highest": 2, "part": "mouth"}
    assert set(found) == set(small_editor.NAMES)
    health = client.get("/health").json()
    assert health["state"] == "ready" and {"jax", "diffcam_jax"} <= set(health["versions"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("GET", "/api/edits", 405),
        ("PUT", "/api/edits/" + "0" * 32, 405),
        ("POST", "/health", 405),
        ("GET", "/api/edits/" + "0" * 32, 404),
        ("DELETE", "/api/edits/" + "0" * 32, 404),
        ("GET", "/api/docs/index.html", 404),
    ],
)
def test_every_refusal_is_json(client, method, path, status):
    answer = refused(client.request(method, path), status)
    assert status != 405 or answer.headers["allow"]


def test_a_fault_of_the_server_is_json_too(client, parts, monkeypatch, caplog):
    monkeypatch.setattr(parts.queue, "counts", lambda: 1 / 0)
    refused(client.get("/health"), 500, "its log says why")
    assert "ZeroDivisionError" in caplog.text
