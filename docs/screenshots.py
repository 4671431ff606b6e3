"""Takes the pictures of the page that the documentation shows.

python -m docs.screenshots
"""

import sys
import tempfile
from pathlib import Path

from diffcam_jax.faces import samples

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Writes docs/app/page.jpg and phone.jpg."""
    sys.path.insert(0, str(ROOT / "tests"))
    import page_driver

    folder = ROOT / "docs" / "app"
    folder.mkdir(exist_ok=True)
    looks = {
        "page": {"viewport": {"width": 1180, "height": 900}, "color_scheme": "light"},
        "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    }
    with (
        tempfile.TemporaryDirectory() as results,
        page_driver.browser() as browser,
        page_driver.server(Path(results) / "results") as address,
    ):
        for name, look in looks.items():
            page = browser.new_page(**look)
            page.goto(f"{address}?smiling=1")
            page.wait_for_selector("#hopper")
            page.wait_for_timeout(2000)
            page_driver.opened(page, samples.hopper())
            page.click("#edit")
            page.locator("#told progress").wait_for()
            page_driver.settled(page)
            if name == "page":
                page.click("#stages-panel button")
                page.wait_for_timeout(2000)
            else:
                page.evaluate("document.querySelector('#told').scrollIntoView()")
            path = folder / f"{name}.jpg"
            page.screenshot(path=path, full_page=name == "page", type="jpeg", quality=88)


if __name__ == "__main__":
    main()
