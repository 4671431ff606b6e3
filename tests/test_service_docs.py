"""What is said of the service is true: its schema, its page, and the documented client."""

import re

import pytest

from diffcam_jax.service.settings import Settings
from tests.docs_pages import ROOT, blocks
from tests.service_world import context, photo, serve
from tests.test_service_api import picture

PAGE = ROOT / "docs/service.md"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFCAM_HOME", str(root / "home"))
        with serve(context(root / "edits")) as client:
            yield client


def test_the_client_of_the_documentation(client):
    (source,) = (content for language, content in blocks(PAGE) if language == "python")
    assert len(source.splitlines()) <= 32
    names = {"__name__": "client"}
    exec(compile(source, str(PAGE), "exec"), names)
    names["SERVER"] = str(client.base_url).rstrip("/")
    before = picture(photo())
    after = picture(names["edit"](photo(), attributes={"smiling": 1}, aligned=True))
    assert after.shape == before.shape and (after != before).any()
    with pytest.raises(RuntimeError, match="did you mean smiling"):
        names["edit"](photo(), attributes={"smilin": 1})
    with pytest.raises(RuntimeError, match="not a picture"):
        names["edit"](b"text", attributes={"smiling": 1})


def test_the_documentation_names_every_endpoint_and_setting(client):
    text = PAGE.read_text()
    schema = client.get("/api/openapi.json").json()
    named = set(re.findall(r"`(GET|POST|DELETE) (/[\w{}/]*)`", text))
    known = {(m.upper(), path) for path, item in schema["paths"].items() for m in item}
    assert named == known | {("GET", "/api/docs")}
    table = text.partition("| setting |")[2].partition("\n\n")[0]
    rows = "".join(line.split("|")[1] for line in table.splitlines()[2:])
    assert set(re.findall(r"`(\w+)`", rows)) == set(Settings.__dataclass_fields__)


def nodes(tree):
    yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(part)


def test_the_schema_is_one_of_openapi_3_0(client):
    schema = client.get("/api/openapi.json").json()
    assert schema["openapi"] == "3.0.3"
    parts = schema["components"]["schemas"]
    for node in nodes(schema):
        if isinstance(node, dict):
            assert node.get("type") != "null" and "const" not in node
            if link := node.get("$ref"):
                assert link.removeprefix("#/components/schemas/") in parts
    assert parts["Edit"]["properties"]["position"]["nullable"] is True
    assert set(parts["Error"]["properties"]) == {"error"}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            assert operation["summary"] and operation["description"], (method, path)
            for status, answer in operation["responses"].items():
                assert answer["description"]
                if status >= "400":
                    (kind,) = answer["content"].values()
                    assert kind["schema"] == {"$ref": "#/components/schemas/Error"}
    form = schema["paths"]["/api/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert set(form["schema"]["properties"]) == {"photo", "mask", "edited", "settings"}


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/api/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 4 and all(re.match(r"/\w", link) for link in links)
    for link in links:
        answer = client.get(link)
        assert answer.status_code == 200 and answer.content, link
    assert "validatorUrl: null" in client.get("/api/docs/start.js").text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("part", "kinds"),
    [
        ("result", {"image/png", "image/gif", "image/webp", "video/mp4", "video/x-matroska"}),
        ("sheet", {"image/png"}),
        ("stages/{name}", {"image/png"}),
        ("report", {"application/json"}),
    ],
)
def test_parts_of_an_edit_are_described_as_files(client, part, kinds):
    schema = client.get("/api/openapi.json").json()
    content = schema["paths"][f"/api/edits/{{id}}/{part}"]["get"]["responses"]["200"]["content"]
    assert content == {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
