"""Let a whole data set be as small as a test's tree, so that what is built of it carries its published name."""

from __future__ import annotations

import pytest

from icvos.builders.fewshot import whole
from icvos.data.class_masks import pool_sha256
from icvos.files import file_sha256
from icvos.sources import expected
from icvos.sources.expected import Expected
from icvos.sources.fss1000 import Fss1000

__all__ = ["known", "whole_fss", "whole_matcher_coco"]


def known(monkeypatch: pytest.MonkeyPatch, dataset: str, split: str, archive: str = "", **counts: int) -> None:
    """Let a whole split hold what a test's tree does."""
    monkeypatch.setitem(expected._BY_NAME, (dataset, split), Expected(dataset, split, counts, archive, "the test"))


def whole_fss(monkeypatch: pytest.MonkeyPatch, fss: Fss1000) -> None:
    """Let the classes of a test's FSS-1000 be those of the authors' list."""
    known(monkeypatch, "FSS-1000", fss.split, categories=len(fss.classes), images=10 * len(fss.classes))
    monkeypatch.setattr(whole, "FSS_CLASSES", pool_sha256(fss.classes))


def whole_matcher_coco(monkeypatch: pytest.MonkeyPatch, *lists: object) -> None:
    """Let a test's files, one a fold, be Matcher's lists of COCO-20i."""
    monkeypatch.setattr(whole, "MATCHER_COCO", tuple(file_sha256(path)[:12] for path in lists))  # type: ignore[arg-type]
