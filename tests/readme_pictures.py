"""The README's pictures, made by the README's code: `make pictures` runs this on the default model, in Chromium."""

import contextlib
import re
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PICTURES = ROOT / "data" / "pictures"
WIDTH, HEIGHT = 1000, 840


def run_example():
    """Runs the README's code as it stands, in the current folder. Returns its names."""
    names = {}
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), names)
    return names


def draw_plot(results, path):
    results.plot().savefig(path, dpi=110)


def draw_comparison(results, path):
    import browser
    from playwright.sync_api import sync_playwright

    from toolkit.widgets.comparison import CompareView

    with sync_playwright() as started, browser.launch(started) as chromium:
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        browser.mount(browser.gated(page), CompareView(results.compare("temperature")))
        page.screenshot(path=path)


if __name__ == "__main__":
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        results = run_example()["results"]
    draw_plot(results, PICTURES / "quickstart.png")
    draw_comparison(results, PICTURES / "compare.png")
