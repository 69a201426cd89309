"""Writes pictures in the layout of FSS-1000: ten of each drawn category, each with the mask of one thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icvos.demo.world.plan import WorldSize, cast_of, make_portrait
from icvos.files import atomic_write
from icvos.images import write_image
from icvos.progress import Progress, Update

__all__ = ["write_fss1000"]

_PICTURES = 10


def write_fss1000(root: Path, size: WorldSize, seed: int, progress: Progress) -> None:
    """Write ``data/<class>/<n>.jpg`` and ``<n>.png``, and ``splits/test.txt``, under ``root``.

    All categories are of the test split: methods are trained on other shapes.
    """
    names = list(cast_of(size))
    total = _PICTURES * len(names)
    for index in range(total):
        name, number = names[index // _PICTURES], 1 + index % _PICTURES
        image, labels = make_portrait(size, seed, "fss1000", index, name).frame(0)
        folder = root / "data" / name.replace(" ", "_")
        write_image(folder / f"{number}.jpg", image, quality=92)
        # As the authors' masks: three channels, and greys of which 128 is the least of the thing.
        grey = np.where(labels == 1, 255 - index % 100, index % 100).astype(np.uint8)
        write_image(folder / f"{number}.png", np.repeat(grey[..., None], 3, axis=2))
        progress(Update("pictures of fss-1000", index + 1, total))
    with atomic_write(root / "splits" / "test.txt", "w") as stream:
        # In no order, and with line ends as Windows writes them.
        stream.write("".join(f"{name.replace(' ', '_')}\r\n" for name in names[::-2] + names[-2::-2]))
