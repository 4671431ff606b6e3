"""The page in Debian's Chromium, with the real server and the networks that ship.

One test, for the server and what it has compiled serve every part of it.
"""

import json
import time
import zipfile

import numpy as np
import page_driver
import pytest
from page_driver import handed, opened, saved, settled, strength
from PIL import Image

from diffcam_jax.faces import samples
from diffcam_jax.programs import edit
from diffcam_jax.video.opening import open_clip, read_frames
from tests import clip_files

STEPS = 3

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(page_driver.CHROMIUM is None, reason="apt-get install chromium"),
]


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.timeout(1200)
def test_the_page(tmp_path, subtests):
    with page_driver.server(tmp_path / "results") as address, page_driver.browser() as browser:
        first = browser.new_page(viewport={"width": 1280, "height": 900})
        requested, wrong = [], []
        first.on("request", lambda request: requested.append(request.url))
        first.on("pageerror", lambda error: wrong.append(str(error)))
        first.on("response", lambda r: wrong.append(r.url) if r.status >= 400 else None)
        first.goto(f"{address}?tune={STEPS}")  # few, for speed
        first.wait_for_selector("#hopper")
        first.wait_for_timeout(1000)
        with subtests.test("a slider moves by the keyboard"):
            moves_by_keyboard(first)
        with subtests.test("a text file is refused"):
            refuses_text(first, tmp_path)
        with subtests.test("a photograph is edited as the command line edits it"):
            edits(first, tmp_path)
        with subtests.test("undo, redo, and the link to the settings"):
            goes_back(first, browser, address)
        with subtests.test("a painted mask confines the edit"):
            confines(first, tmp_path)
        with subtests.test("a face is chosen by a click"):
            chooses(first, tmp_path)
        with subtests.test("an edit made elsewhere is taken in"):
            takes_in(first, tmp_path)
        with subtests.test("another visitor sees nothing of it, and a phone has room for all"):
            phone(browser, address)
        with subtests.test("many photographs, some of which are none"):
            many(first, tmp_path)
        with subtests.test("a clip is edited and played"):
            plays(first, tmp_path)
        with subtests.test("a visitor who leaves ends the edit"):
            leaves(browser, address, tmp_path)
        with subtests.test("nothing is asked of another computer, and nothing failed"):
            others = [u for u in requested if not u.startswith((address, "data:", "blob:"))]
            assert others == [] and wrong == []


def moves_by_keyboard(page):
    """On a slow machine the slider is drawn before it listens; a key it missed is pressed again."""
    number = strength(page, "smiling")
    for _ in range(6):
        page.locator("#slider-smiling input[type=range]").focus()
        page.keyboard.press("ArrowRight")
        end = time.monotonic() + 10
        while float(number.input_value()) == 0 and time.monotonic() < end:
            page.wait_for_timeout(250)
        if float(number.input_value()) > 0:
            break
    assert float(number.input_value()) == 0.05
    assert "Drop a photograph" in page.locator("#told [role=alert]").inner_text()


def refuses_text(page, folder):
    (folder / "notes.jpg").write_text("no picture")
    page.set_input_files("#photo input[type=file]", folder / "notes.jpg")
    page.locator("#told [role=alert]", has_text="not a picture").wait_for(timeout=120_000)
    assert "notes.jpg" in page.inner_text("#told")


def edits(page, folder):
    photo = samples.hopper()
    assert "1 face found" in opened(page, photo)
    number = strength(page, "smiling")
    number.fill("1")
    number.press("Tab")
    page.locator("#told progress").wait_for(timeout=120_000)
    assert "smiling: asked 1, reached" in settled(page)
    sizes = page.evaluate(
        "[...document.querySelectorAll('#result img')].map(i => [i.naturalWidth, i.naturalHeight])"
    )
    with Image.open(photo) as picture:
        assert sizes == [list(picture.size)] * 2
    shown = page.locator("#result img").first.bounding_box()
    page.mouse.move(shown["x"] + 100, shown["y"] + 100)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(500)
    zoomed = page.evaluate(
        "[...document.querySelectorAll('#result img')].map(i => i.style.transform)"
    )
    assert len(set(zoomed)) == 1 and "scale(1)" not in zoomed[0]
    result = saved(page, "#save", folder / "page.png")
    asked = ["--attribute", "smiling=1", "--tune", str(STEPS), "--out", str(folder / "out")]
    assert edit.main([str(photo), *asked]) == 0
    assert result.read_bytes() == (folder / "out" / "grace_hopper.png").read_bytes()
    changed = (pixels(result) != pixels(photo)).any(-1)
    assert 0.005 < changed.mean() < 0.2
    report = json.loads(saved(page, "#save-report", folder / "page.json").read_text())
    assert report["settings"]["attributes"] == {"smiling": 1.0} and report["untouched_exact"]


def goes_back(page, browser, address):
    number = strength(page, "smiling")
    number.fill("0.5")
    number.press("Tab")
    page.locator("#told progress").wait_for(timeout=120_000)
    settled(page)
    assert page.url == f"{address}?smiling=0.5&tune={STEPS}"
    page.click("#undo")
    page.wait_for_url(f"{address}?smiling=1&tune={STEPS}")
    assert float(number.input_value()) == 1
    page.click("#redo")
    page.wait_for_url(f"{address}?smiling=0.5&tune={STEPS}")
    assert float(number.input_value()) == 0.5
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_function(
        "document.querySelector('#slider-smiling input[type=number]')?.value === '0.5'"
    )
    other.close()


def confines(page, folder):
    """Of a smile, only the painted side of the mouth changes."""
    page.click("#where button")
    canvas = page.locator("#brush canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1500)
    box = canvas.bounding_box()
    scale = page.evaluate("parseFloat(document.querySelector('#brush').innerText.match(/(\\d+)%/))")
    x = box["x"] + box["width"] / 2 + 30 * scale / 100
    y = box["y"] + box["height"] / 2
    page.mouse.move(x, y - 60 * scale / 100)
    page.mouse.down()
    page.mouse.move(x, y + 10 * scale / 100, steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.click("#edit")
    page.locator("#told progress").wait_for(timeout=120_000)
    settled(page)
    result = pixels(saved(page, "#save", folder / "confined.png"))
    changed = (result != pixels(samples.hopper())).any(-1)
    whole = (pixels(folder / "page.png") != pixels(samples.hopper())).any(-1)
    assert 50 < changed.sum() < 0.8 * whole.sum()
    # The stroke's centre is 30 pixels to the right of the picture's, its radius 40.
    first, left = (np.flatnonzero(part.any(0)).min() for part in (changed, whole))
    assert left < 220 and first > result.shape[1] / 2 - 15


def chooses(page, folder):
    one, other = (Image.open(path).convert("RGB") for path in (samples.hopper(), samples.collins()))
    both = Image.new("RGB", (1024, 600))
    both.paste(one, (0, 0))
    both.paste(other, (512, 0))
    both.save(folder / "both.png")
    assert "2 faces found" in opened(page, folder / "both.png")
    assert chosen(page) == "1"
    picture = page.locator("#faces img")
    shown = picture.bounding_box()
    found = []
    for x in (0.25, 0.72):
        picture.click(position={"x": x * shown["width"], "y": 0.25 * shown["height"]})
        page.wait_for_timeout(1000)
        found.append(chosen(page))
    assert sorted(found) == ["1", "2"]


def chosen(page) -> str:
    return page.locator("#face input:checked").input_value()


def takes_in(page, folder):
    """The smile comes back as another program would save it; only the mouth is taken over."""
    Image.open(folder / "page.png").convert("RGB").save(folder / "edited.jpg", quality=90)
    opened(page, samples.hopper())
    page.click("#reset")
    page.click("#elsewhere button")
    handed(page, "#edited", folder / "edited.jpg")
    page.click("#edit")
    page.locator("#told progress").wait_for(timeout=120_000)
    assert "unchanged" in settled(page)
    photo, smile = pixels(samples.hopper()), pixels(folder / "page.png")
    changed = (pixels(saved(page, "#save", folder / "taken.png")) != photo).any(-1)
    moved = np.abs(smile.astype(int) - photo).max(-1) > 24
    assert changed[moved].mean() > 0.9 and changed.mean() < 0.1
    page.locator("#edited button[aria-label='Clear']").first.click()


def phone(browser, address):
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.goto(address)
    page.wait_for_selector("#hopper")
    page.wait_for_timeout(1000)
    assert page.locator("#result img").count() == 0
    assert page.locator("#photo").inner_text().count("hopper") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    unnamed = page.evaluate(
        """[...document.querySelectorAll("input, button, textarea")].filter(e =>
          e.type !== "file" && e.offsetParent && !e.innerText && !e.ariaLabel && !e.title
          && !(e.labels && e.labels.length)).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert unnamed == []
    page.close()


def many(page, folder):
    with zipfile.ZipFile(folder / "many.zip", "w") as archive:
        archive.write(samples.hopper(), "family/hopper.jpg")
        archive.write(folder / "notes.jpg", "family/notes.jpg")
    page.click("#at-once input")
    strength(page, "smiling").fill("1")
    strength(page, "smiling").press("Tab")
    page.get_by_role("tab", name="Many photographs").click()
    handed(page, "#photos", folder / "many.zip")
    page.click("#edit-all")
    page.locator("#told-all progress").first.wait_for(timeout=120_000)
    assert "1 edited, 1 failed" in settled(page, "#told-all")
    assert "not a picture" in page.inner_text("#table")
    with zipfile.ZipFile(saved(page, "#save-all", folder / "edited.zip")) as archive:
        assert sorted(archive.namelist()) == ["errors.json", "hopper.json", "hopper.png"]
        assert "notes.jpg" in json.loads(archive.read("errors.json"))
    page.get_by_role("tab", name="One photograph").click()


def plays(page, folder):
    """The portrait moves by a pixel a frame."""
    portrait = pixels(samples.hopper())
    clip = clip_files.write_video(
        folder / "me.mp4",
        6,
        (480, 560),
        draw=lambda n, width, height: portrait[n:][:height, :width],
    )
    page.get_by_role("tab", name="Clip").click()
    handed(page, "#clip", clip)
    page.click("#edit-clip")
    page.locator("#told-clip progress").wait_for(timeout=120_000)
    assert "6 frames" in settled(page, "#told-clip")
    page.wait_for_function("document.querySelector('#video video')?.videoWidth === 480")
    result = saved(page, "#save-clip", folder / "moved.mp4")
    pairs = zip(
        *([f.pixels.astype(int) for f in read_frames(open_clip(p))] for p in (clip, result))
    )
    changed = [(abs(before - after).max(-1) > 24).mean() for before, after in pairs]
    assert len(changed) == 6 and all(0.002 < share < 0.2 for share in changed)
    page.get_by_role("tab", name="One photograph").click()


def leaves(browser, address, folder):
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("#collins")
    opened(page, samples.collins())
    strength(page, "smiling").fill("1.5")
    strength(page, "smiling").press("Tab")
    page.locator("#told progress").wait_for(timeout=120_000)
    page.close()
    end = time.monotonic() + 60
    while [path for path in (folder / "results").iterdir() if not path.name.startswith(".")]:
        assert time.monotonic() < end, "the edit goes on"
        time.sleep(0.5)
