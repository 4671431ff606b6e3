"""Who may come, how much, and from where; and that nothing leads out of a job's folder."""

import contextlib
import json
import os
import socket
import time
from urllib.parse import quote

import httpx
import pytest

from diffcam_jax.service import intake
from diffcam_jax.service.guard import COOKIE
from diffcam_jax.service.limits import Limits
from tests.service_world import SMILE, context, form, photo, refused, serve, until

TOKEN = "correcthorsebattery"
LIMIT = 200_000  # bytes


def finish(job, progress) -> None:
    """A worker whose result is there at once."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    limits = Limits(request_bytes=LIMIT, per_minute=10_000)
    return context(tmp_path_factory.mktemp("edits"), [finish], limits=limits, waiting=1000)


@pytest.fixture(scope="module")
def client(parts):
    with serve(parts) as client:
        yield client


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with a token that other computers can reach."""
    choices = {"token": TOKEN, "loopback": False}
    with serve(context(tmp_path_factory.mktemp("locked"), [finish], **choices)) as client:
        yield client


def folders(parts) -> set[str]:
    return {path.name for path in parts.store.root.iterdir()}


# ---------------------------------------------------------------- who


@pytest.mark.parametrize("path", ["/api/attributes", "/api/docs", "/api/openapi.json", "/", "/x"])
def test_a_token_is_asked_for_everywhere(locked, path):
    answer = refused(locked.get(path), 401, "needs its token")
    assert answer.headers["www-authenticate"] == "Bearer"
    refused(locked.get(path, headers={"authorization": f"Bearer {TOKEN}x"}), 401)
    refused(locked.get(path, headers={"authorization": f"Basic {TOKEN}"}), 401)
    refused(locked.get(path, headers={"cookie": f"{COOKIE}={TOKEN}"}), 401)


def test_a_token_opens(locked):
    known = {"authorization": f"Bearer {TOKEN}"}
    assert locked.get("/api/attributes", headers=known).status_code == 200
    assert locked.post("/api/edits", headers=known, **form()).status_code == 202
    refused(locked.post("/api/edits", **form()), 401)
    assert locked.get("/health").status_code == 200, "a supervisor need not know it"


def test_a_link_sets_a_cookie_that_opens(locked):
    for wrong in ("", "x", TOKEN[:-1], quote(TOKEN + "\udc80", errors="surrogateescape")):
        refused(locked.get(f"/?token={wrong}"), 401)
    welcome = locked.get(f"/?token={TOKEN}")
    assert welcome.status_code == 200 and "url=/" in welcome.text and TOKEN not in welcome.text
    cookie = welcome.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    value = {"cookie": cookie.partition(";")[0]}
    locked.cookies.clear()
    assert locked.get("/api/attributes", headers=value).status_code == 200
    refused(locked.get("/api/attributes?token=" + TOKEN), 401)


# ---------------------------------------------------------------- from where


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "["]
)
def test_a_name_of_elsewhere_is_no_name_of_this_computer(client, host):
    refused(client.get("/health", headers={"host": host}), 403, "this computer only")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:7860", "[::1]:7860", "127.0.0.2"]
)
def test_names_of_this_computer(client, host):
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://localhost:1"},
        {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_other_sites_change_nothing(client, parts, headers):
    before = folders(parts)
    refused(client.post("/api/edits", headers=headers, **form()), 403, "other sites")
    refused(client.delete(f"/api/edits/{'0' * 32}", headers=headers), 403)
    assert folders(parts) == before
    assert "access-control-allow-origin" not in client.get("/health", headers=headers).headers


def test_the_own_page_may(client):
    own = str(client.base_url).rstrip("/")
    for headers in ({"origin": own}, {"origin": "null", "sec-fetch-site": "same-origin"}):
        assert client.post("/api/edits", headers=headers, **form()).status_code == 202


def test_every_response_has_the_headers_of_safety(client, locked):
    for answer in (client.get("/health"), client.get("/api/none"), locked.get("/api/docs")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


# ---------------------------------------------------------------- how much


def raw(client: httpx.Client, *parts: bytes, close: bool = True) -> bytes:
    """What a server answers to bytes as they are."""
    address = client.base_url.host, client.base_url.port
    with contextlib.closing(socket.create_connection(address, 20)) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        with contextlib.suppress(ConnectionResetError):  # by bytes that nobody asked for
            while not close and (chunk := connection.recv(65536)):
                received += chunk
        return received


def head(length: str) -> bytes:
    lines = [
        "POST /api/edits HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        "Content-Type: multipart/form-data; boundary=b",
        length,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


PART = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'


def test_too_large_a_request_is_refused_by_its_own_word(client, parts):
    before = folders(parts)
    refused(client.post("/api/edits", **form(content=bytes(LIMIT))), 413, "0.2 MB")
    assert folders(parts) == before


def test_bytes_are_counted_without_a_word_about_them(client, parts):
    before = folders(parts)

    def endless():
        yield PART
        for _ in range(8):
            yield bytes(LIMIT // 4)

    kind = {"content-type": "multipart/form-data; boundary=b"}
    refused(client.post("/api/edits", content=endless(), headers=kind), 413, "too large")
    assert folders(parts) == before


def test_a_length_that_lies(client, parts):
    before = folders(parts)
    short = raw(client, head("Content-Length: 100") + PART + bytes(100), close=False)
    assert short.startswith(b"HTTP/1.1 400") and b"cut off" in short
    raw(client, head("Content-Length: 100") + PART + bytes(2 * LIMIT), close=False)
    raw(client, head(f"Content-Length: {LIMIT}") + PART, bytes(5000))
    until(lambda: folders(parts) == before)
    for nonsense in ("-5", "1e3", "9" * 40, "x"):
        answer = raw(client, head(f"Content-Length: {nonsense}"), close=False)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
    assert client.get("/health").status_code == 200


def test_an_upload_that_is_given_up_leaves_nothing(client, parts):
    before = folders(parts)
    address = client.base_url.host, client.base_url.port
    with contextlib.closing(socket.create_connection(address, 20)) as connection:
        connection.sendall(head(f"Content-Length: {LIMIT - 1}") + PART + bytes(50_000))
        (new,) = until(lambda: folders(parts) - before)
        until(lambda: (parts.store.root / new / "photo").exists())
    until(lambda: folders(parts) == before)


def test_a_full_disk_is_no_fault_of_the_client(client, parts, monkeypatch):
    before = folders(parts)
    place = type(parts.store.root)

    class Full(place):
        def open(self, mode):
            return open("/dev/full", "wb", buffering=0)

    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    monkeypatch.setattr(intake.Intake, "path", lambda self, part: Full(self._folder / part))
    refused(client.post("/api/edits", **form()), 507, "the disk of the server is full")
    assert folders(parts) == before


# ---------------------------------------------------------------- nothing leads out of a folder


OUT = [
    "..",
    "../job.json",
    "../../secret",
    "/etc/passwd",
    "%2e%2e/secret",
    "..%2fsecret",
    "%2e%2e%2fsecret",
    "..%252fsecret",
    "..%5csecret",
    "%00",
    "mask%00.png",
    "%c0%ae%c0%ae%c0%afsecret",
    "%ff%fe",
    "secret",
    "mask.png",
    "MASK",
    "a" * 5000,
    "%F0%9F%98%80",
]


@pytest.fixture(scope="module")
def edit(client, parts):
    """An edit that is done, with a secret beside it to which links lead."""
    id = client.post("/api/edits", **form()).json()["id"]
    until(lambda: client.get(f"/api/edits/{id}").json()["state"] == "done")
    folder = parts.store.root / id
    (folder / "stages").mkdir()
    (folder / "stages" / "mask.png").write_bytes(b"the mask")
    secret = parts.store.root.parent / "secret.png"
    secret.write_bytes(b"a secret")
    (folder / "stages" / "linked.png").symlink_to(secret)
    (folder / "result.png").symlink_to(secret)
    return id


def get(client: httpx.Client, path: str) -> tuple[int, bytes]:
    """A path exactly as it is written."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(client, request.encode(), close=False)
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("name", OUT)
def test_no_name_leads_out_of_a_folder(client, edit, name):
    for path in (f"/api/edits/{edit}/stages/{name}", f"/api/edits/{name}", f"/api/docs/{name}"):
        status, answer = get(client, path)
        assert status in (400, 404, 405), path
        assert b"secret" not in answer and b"root:" not in answer and b"photo" not in answer


def test_links_in_a_folder_lead_nowhere(client, edit):
    assert get(client, f"/api/edits/{edit}/stages/mask")[1].endswith(b"the mask")
    for part in ("result", "stages/linked"):
        status, answer = get(client, f"/api/edits/{edit}/{part}")
        assert status == 404 and b"a secret" not in answer


@pytest.mark.parametrize("part", ["../photo", "/etc/x", "photo\0", "job.json", "mask/../photo", ""])
def test_no_part_of_a_form_names_a_file(client, parts, part):
    before = folders(parts)
    files = {part: ("../../x.png", photo())}
    answer = client.post("/api/edits", files=files, data={"settings": json.dumps(SMILE)})
    refused(answer, 400, "the form has a part")
    assert folders(parts) == before and not (parts.store.root.parent / "x.png").exists()


def test_names_of_files_are_no_paths(client, parts):
    for name in ("../../x.png", "/tmp/x.png", "..\\x.png", "x\0.png"):
        id = client.post("/api/edits", **form(name=name)).json()["id"]
        until(lambda id=id: client.get(f"/api/edits/{id}").json()["state"] == "done")
        assert {p.name for p in (parts.store.root / id).iterdir()} == {"photo", "job.json"}


def test_a_refusal_reaches_a_client_that_sends_all_before_it_reads(tmp_path):
    """Else it would see a connection that breaks, and not when to come again."""
    limits = Limits(request_bytes=20_000_000, per_minute=1)
    with serve(context(tmp_path, [finish], limits=limits)) as client:
        given = form(content=bytes(8_000_000))
        refused(client.post("/api/edits", **given), 422)
        begun = time.monotonic()
        for _ in range(3):
            assert "retry-after" in refused(client.post("/api/edits", **given), 429).headers
        assert time.monotonic() - begun < 10
