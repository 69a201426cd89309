"""Makes every picture of the documentation anew, from the demo alone.

python -m tools.pictures              # with a run of dcsam and the leaderboard's runs: about six minutes on 2 cores
python -m tools.pictures report stats # these alone

Needs chromium (Debian: apt install chromium). The notebook's page has a tool of its own, ``tools.notebook_page``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["MAKERS", "PICTURES", "browser", "leaderboard_pictures", "screenshot"]

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
EPISODE = "davis17__umbrella-01__26__d2"


def icvos(*words: object) -> None:
    """Run a command as a user does."""
    command = [sys.executable, "-m", "icvos.cli", *map(str, words)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@contextmanager
def browser() -> Iterator[Any]:
    """Give a headless chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def screenshot(
    page: Path,
    out: Path,
    *,
    size: tuple[int, int],
    ready: str,
    scheme: str = "light",
    steps: Callable[[Any], None] | None = None,
) -> None:
    """Write what a page shows.

    Args:
        page: An HTML file.
        out: ``.png`` or ``.jpg``.
        size: Width and height of the window.
        ready: JavaScript that is true once the page is drawn.
        scheme: ``light`` or ``dark``.
        steps: What is done on the page first.
    """
    with browser() as chromium:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        tab = context.new_page()
        tab.goto(page.as_uri())
        tab.wait_for_function(ready)
        if steps is not None:
            steps(tab)
            tab.wait_for_function(ready)
        quality = {"type": "jpeg", "quality": 85} if out.suffix == ".jpg" else {}
        tab.screenshot(path=str(out), **quality)


def run_of(model: str, work: Path) -> Path:
    """Return the folder of a method's run on the demo, with its masks; made where it is not there."""
    icvos("evaluate", "--model", model, "--benchmark", "demo", "--save-masks", "--out", work / model)
    return work / model


def scenes(work: Path) -> None:
    """The demo's world."""
    icvos("build-data", "demo", "--sheet", PICTURES / "demo_scenes.png")


def episode(work: Path) -> None:
    """What DC-SAM looked at."""
    words = ("--benchmark", "demo", "--weights", "dcsam=demo", "--frame", 8)
    icvos("show-episode", EPISODE, *words, "--out", work / "episode.png")
    with Image.open(work / "episode.png") as picture:
        picture.convert("RGB").save(PICTURES / "dcsam_episode.jpg", quality=88)


def sheet(work: Path) -> None:
    """The best, the median and the worst episodes of DC-SAM."""
    icvos("report", run_of("dcsam", work), "--each", 1, "--out", work / "sheet")
    shutil.copy(work / "sheet/contact_sheet.png", PICTURES / "dcsam_demo.png")


DRAWN = "player.wanted === null && !player.drawing && document.getElementById('player').dataset.shown"


def report(work: Path) -> None:
    """A run's report, on a desktop and on a phone."""
    icvos("report", run_of("dcsam", work), "--out", work / "report")
    page = work / "report/index.html"

    def middle(tab: Any) -> None:
        tab.keyboard.press("Home")
        for _ in range(8):
            tab.keyboard.press("ArrowRight")

    screenshot(page, PICTURES / "report.jpg", size=(1440, 1180), ready=DRAWN, steps=middle)
    screenshot(page, PICTURES / "report_phone.jpg", size=(390, 844), ready=DRAWN, scheme="dark", steps=to_the_player)


def to_the_player(tab: Any) -> None:
    """Scroll to the player."""
    tab.evaluate("document.getElementById('player').scrollIntoView()")


def compare(work: Path) -> None:
    """Two runs side by side."""
    runs = [run_of(model, work) for model in ("dcsam", "histogram")]
    icvos("compare", *runs, "--out", work / "compare")
    screenshot(
        work / "compare/index.html", PICTURES / "compare.jpg", size=(1440, 1000), ready=DRAWN, steps=to_the_player
    )


def stats(work: Path) -> None:
    """The figure of a data set."""
    icvos("build-data", "stats", "demo", "--plot", PICTURES / "stats.png")


def leaderboard(work: Path) -> None:
    """The leaderboard's page, on a desktop and on a phone; ``icvos demo`` leaves its runs in ``runs/demo``."""
    icvos("demo")
    leaderboard_pictures(ROOT / "runs" / "demo", work, PICTURES)


def leaderboard_pictures(runs: Path, work: Path, out: Path) -> None:
    """Write the pictures of the leaderboard's page.

    Args:
        runs: A folder of runs on ``demo``: of all methods that ``icvos demo`` runs, and whole ones.
        work: A folder for the page.
        out: A folder for the pictures.
    """
    board, page = work / "no-records", work / "leaderboard.html"
    board.mkdir(parents=True, exist_ok=True)
    icvos("leaderboard", "render", page, "--runs", runs, "--board", board)
    drawn = "document.querySelector('#plot-speed .point') !== null"
    for name, size in (("desktop", (1280, 1180)), ("phone", (390, 844))):
        screenshot(page, out / f"leaderboard_{name}.png", size=size, ready=drawn)


def labels(work: Path) -> None:
    """The labels page: whether a category is wholly outlined."""
    icvos("build-data", "demo", "--out", work / "world")
    raw = work / "world" / "raw"
    icvos("build-data", "labels", "--mose", raw / "mose", "--recipe", raw / "recipe", "--out", work / "labels")
    with browser() as chromium:
        tab = chromium.new_context(viewport={"width": 1440, "height": 960}).new_page()
        tab.goto((work / "labels/mose.html").as_uri())
        tab.click('#strip button:has-text("umbrella")')
        for _ in range(9):
            tab.keyboard.press("ArrowRight")
        # Its policy lets no text be run as code: what waits is no JavaScript.
        tab.locator("#stage[data-shown]").wait_for()
        tab.screenshot(path=str(PICTURES / "labels.jpg"), type="jpeg", quality=85)


MAKERS: dict[str, Callable[[Path], None]] = {
    "scenes": scenes,
    "episode": episode,
    "sheet": sheet,
    "report": report,
    "compare": compare,
    "stats": stats,
    "leaderboard": leaderboard,
    "labels": labels,
}


def main() -> None:
    """Make the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MAKERS))
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "pictures", help="Folder of the runs, kept.")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in MAKERS]
    if unknown:
        parser.error(f"no picture '{unknown[0]}'; there are {', '.join(MAKERS)}")
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.names or MAKERS:
        MAKERS[name](given.work.resolve())
        print(name)


if __name__ == "__main__":
    main()
