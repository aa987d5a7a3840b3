"""Photograph the page of a running `diptych demo`, for the README:

  python docs/images/screenshots.py http://127.0.0.1:8765

Needs Chromium, and fonts for the scripts that are shown (apt-get install chromium fonts-noto-core fonts-noto-cjk).
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
DESKTOP = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


def photograph(browser: Browser, url: str, name: str, **settings: object) -> None:
    """Open a page, wait until its pictures are there, and keep what is seen."""
    page = browser.new_context(**settings).new_page()  # pyright: ignore[reportArgumentType]
    page.goto(url)
    page.locator("#results img").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=HERE / name)


def main(url: str) -> None:
    """Light and dark on a desktop, and a telephone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        photograph(browser, f"{url}/?q=red+fruit", "page-light.png", **DESKTOP)
        photograph(browser, f"{url}/?q=instrument+de+musique&not=guitar", "page-dark.png", color_scheme="dark",
                   **DESKTOP)
        photograph(browser, f"{url}/?q=赤い果物", "page-phone.png", **PHONE)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
