"""Lists of episodes in the form of DC-SAM's authors."""

from __future__ import annotations

from pathlib import Path

AUTHORS_FOLDER = "/root/somebody/env_run/datasets/voc/VOC2012"


def write_lists(
    root: Path, fold: int, by_category: dict[int, list[str]], order: list[str], folder: str = "val"
) -> Path:
    """Lists in DC-SAM's form, with paths of another machine."""
    place = root / "fss_list" / "val"
    place.mkdir(parents=True, exist_ok=True)
    paths = {
        name: (f"{AUTHORS_FOLDER}/JPEGImages/{name}.jpg", f"{AUTHORS_FOLDER}/SegmentationClassAug/{name}.png")
        for name in {*order, *(n for names in by_category.values() for n in names)}
    }
    (place / f"data_list_{fold}.txt").write_text("".join(f"{' '.join(paths[name])}\n" for name in order))
    (place / f"sub_class_file_list_{fold}.txt").write_text(
        str({c: [paths[n] for n in v] for c, v in by_category.items()})
    )
    return root
