"""Pages in a headless browser: opened without a network, and looked at for text that is cut, covered or too pale."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS = (390, 820, 1440)
SCHEMES = ("light", "dark")


def open_page(browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> tuple[Any, list[str]]:
    """Open a page, and collect its errors and whatever it asks of a network."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: problems.append(asked.url) if asked.url.startswith(("http", "ws")) else None)
    page.on("dialog", lambda dialog: (problems.append("a dialog opened"), dialog.dismiss()))
    page.goto(file.as_uri())
    return page, problems


# Every text that is seen, with its boxes cut to what scrolls around it; then what is wrong with them.
_TEXTS = """() => {
  const clipped = (node, box) => {
    let [left, top, right, bottom] = [box.left, box.top, box.right, box.bottom];
    for (let up = node.parentElement; up; up = up.parentElement) {
      const style = getComputedStyle(up);
      if (style.overflowX === 'visible' && style.overflowY === 'visible' || up.namespaceURI.endsWith('svg')) continue;
      if (up === document.documentElement || up === document.body) continue;
      const around = up.getBoundingClientRect();
      [left, top] = [Math.max(left, around.left), Math.max(top, around.top)];
      [right, bottom] = [Math.min(right, around.right), Math.min(bottom, around.bottom)];
    }
    return { left, top, right, bottom };
  };
  const scrolls = (node) => {
    for (let up = node.parentElement; up && up !== document.body; up = up.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const fixed = (node) => {
    for (let up = node.parentElement; up; up = up.parentElement)
      if (['sticky', 'fixed'].includes(getComputedStyle(up).position)) return true;
    return false;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const out = [];
  for (let node; (node = walker.nextNode());) {
    const words = node.textContent.trim(), up = node.parentElement;
    if (!words || ['SCRIPT', 'STYLE', 'OPTION', 'TITLE', 'title'].includes(up.tagName)) continue;
    if (!up.checkVisibility({ checkVisibilityCSS: true, checkOpacity: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      const seen = clipped(node, box);
      if (seen.right - seen.left < 1 || seen.bottom - seen.top < 1) continue;
      const cut = (seen.right < box.right - 1 || seen.left > box.left + 1) && !scrolls(node)
        || box.right > document.documentElement.clientWidth + 1 && !scrolls(node);
      const style = getComputedStyle(up);
      let behind = 'rgb(255, 255, 255)';
      for (let at = up; at; at = at.parentElement) {
        const colour = getComputedStyle(at).backgroundColor;
        if (!/^rgba\\(.*, 0\\)$/.test(colour)) { behind = colour; break; }
      }
      out.push({ words: words.slice(0, 60), ...seen, cut, fixed: fixed(node), behind,
        colour: up.namespaceURI.endsWith('svg') ? style.fill : style.color, size: parseFloat(style.fontSize),
        bold: Number(style.fontWeight) >= 600 });
    }
  }
  return out;
}"""


def text_problems(page: Any) -> list[str]:
    """What is wrong with the texts of a page, a line each: cut, on another text, or less contrast than WCAG AA asks."""
    texts = page.evaluate(_TEXTS)
    assert texts, "the page has no text"
    out = [f"cut: {text['words']}" for text in texts if text["cut"]]
    still = sorted((text for text in texts if not text["fixed"]), key=lambda text: text["top"])
    for number, first in enumerate(still):
        for second in still[number + 1 :]:
            if second["top"] > first["bottom"] - 3:
                break
            width = min(first["right"], second["right"]) - max(first["left"], second["left"])
            if width > 2:
                out.append(f"on each other: {first['words']} | {second['words']}")
    for text in texts:
        large = text["size"] >= 24 or (text["bold"] and text["size"] >= 18.6)
        ratio = contrast(_rgb(text["colour"]), _rgb(text["behind"]))
        if ratio < (3 if large else 4.5):
            out.append(f"pale ({ratio:.1f}): {text['words']}")
    return sorted(set(out))


def _rgb(colour: str) -> tuple[float, float, float]:
    numbers = [float(part) for part in colour[colour.index("(") + 1 : -1].replace("/", ",").split(",")]
    return numbers[0], numbers[1], numbers[2]


def _linear(colour: tuple[float, float, float]) -> np.ndarray:
    share = np.asarray(colour, float) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """WCAG's contrast ratio of two colours, 0 to 255."""
    lights = sorted(float(_linear(colour) @ (0.2126, 0.7152, 0.0722)) for colour in (first, second))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB.
_BLIND = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def _lab(linear: np.ndarray) -> np.ndarray:
    matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    share = np.array(matrix) @ linear / (0.9505, 1.0, 1.089)
    f = np.where(share > 0.008856, np.cbrt(np.maximum(share, 0)), 7.787 * share + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest_colours(colours: dict[str, tuple[int, int, int]]) -> tuple[float, str]:
    """The smallest CIE76 difference of two of some colours as any eye sees them, and which two and which eye."""
    worst = (np.inf, "")
    for (one, first), (other, second) in combinations(colours.items(), 2):
        for eye, matrix in {"all": np.eye(3), **_BLIND}.items():
            seen = [_lab(np.clip(np.asarray(matrix) @ _linear(colour), 0, 1)) for colour in (first, second)]
            worst = min(worst, (float(np.linalg.norm(seen[0] - seen[1])), f"{one} and {other}, {eye}"))
    return worst
