"""Pictures of the leaderboard's page, at a desktop's and a phone's size, from runs on the demo.

After ``icvos demo``: ``python tools/picture_leaderboard.py runs/demo docs/pictures``.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from icvos.errors import UsageError
from icvos.leaderboard.render_html import to_html
from icvos.leaderboard.table import build_tables
from icvos.runs.run import find_runs

__all__ = ["SIZES", "leaderboard_pictures"]

SIZES = {"leaderboard_desktop.png": (1280, 1180), "leaderboard_phone.png": (390, 844)}
"""Names of the pictures, and the width and height that is seen, in pixels."""


def leaderboard_pictures(runs: Path, out: Path) -> list[Path]:
    """Write the pictures of ``SIZES``, in light colours, of the board of runs on ``demo``.

    Args:
        runs: A folder of runs on ``demo``, as ``icvos demo`` leaves them in ``runs/demo``.
        out: A folder, which is made.

    Raises:
        RunError: There is no such folder.
        UsageError: Playwright or Chromium is not there.
    """
    entries = [entry for entry in find_runs(runs)[0] if entry.benchmark_name == "demo" and not entry.limited]
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UsageError("playwright is not installed", fix="pip install playwright") from None
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise UsageError("no Chromium", fix="apt-get install chromium")
    out.mkdir(parents=True, exist_ok=True)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        page = Path(folder) / "page.html"
        page.write_text(to_html(build_tables(entries)), encoding="utf-8")
        browser = play.chromium.launch(executable_path=chromium, args=arguments)
        for name, (width, height) in SIZES.items():
            seen = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light").new_page()
            seen.goto(page.as_uri())
            seen.screenshot(path=out / name)
        browser.close()
    return [out / name for name in SIZES]


if __name__ == "__main__":
    for path in leaderboard_pictures(Path(sys.argv[1]), Path(sys.argv[2])):
        print(path)
