"""Protocols: sizes, frames, names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from icvos.errors import UsageError
from icvos.images import nearest_resize, resize_image
from icvos.protocols import PROTOCOLS, get_protocol


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (480, 854), (512, 512), (513, 511), (1080, 1920), (333, 1000)])
def test_nearest_is_torchs(size):
    torch = pytest.importorskip("torch")
    labels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    there = torch.nn.functional.interpolate(torch.from_numpy(labels)[None, None].float(), (512, 512), mode="nearest")
    assert np.array_equal(nearest_resize(labels, (512, 512)), there[0, 0].numpy().astype(np.uint8))


def test_nearest_is_not_pillows():
    # Pillow takes the pixel under the centre of the new one, torch the one under its corner.
    labels = np.arange(7 * 7, dtype=np.uint8).reshape(7, 7)
    ours = nearest_resize(labels, (4, 4))
    assert ours.tolist() == [[0, 1, 3, 5], [7, 8, 10, 12], [21, 22, 24, 26], [35, 36, 38, 40]]
    pillow = np.array(Image.fromarray(labels).resize((4, 4), Image.Resampling.NEAREST))
    assert not np.array_equal(ours, pillow)


def test_images_are_resized_as_torchvision_resizes_pil_images():
    image = np.random.default_rng(0).integers(0, 256, (48, 85, 3), dtype=np.uint8)
    pillow = np.array(Image.fromarray(image).resize((512, 512), Image.Resampling.BILINEAR))
    assert np.array_equal(resize_image(image, (512, 512)), pillow)
    assert resize_image(image, (48, 85)) is image


@pytest.mark.parametrize(
    ("name", "count", "frames"),
    [
        ("native", 3, [0, 1, 2]),
        ("native", 600, list(range(600))),
        ("paper", 600, list(range(512))),
        ("paper", 5, list(range(5))),
        ("davis-2017", 5, [1, 2, 3]),
        ("mosev2", 5, [1, 2, 3]),
        ("lvos-v2", 5, [1, 2, 3]),
        ("vost", 5, [1, 2, 3]),
        ("davis-2017", 2, []),
        ("davis-2017", 1, []),
    ],
)
def test_frames_that_count(name, count, frames):
    assert list(PROTOCOLS[name].frames(count)) == frames


def test_names():
    with pytest.raises(UsageError, match="did you mean 'native'"):
        get_protocol("natve")
    with pytest.raises(UsageError, match="expected fss-paper, fss-native"):
        get_protocol("native", "image")
    assert get_protocol("paper", "video").size == (512, 512)
