"""Frozen image backbones that give a middle, a deep and a top feature map.

``resnet50``, ``resnet101``: three 3x3 convolutions as stem, layers 3 and 4 dilated instead of strided (stride 8), in
one of two flavours (``DILATIONS``), which the same weights fit.
``vgg16_bn``: torchvision's network, cut at its pools (middle stride 8, deep and top stride 16).
``dinov2_vitb14`` and other sizes: ``icvos.foundation.dinov2``. ``small``: a few thousand parameters.
``efficientnet-lite2``: ``icvos.foundation.efficientnet_lite`` (middle stride 8, deep 16, top 32).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from icvos.data.lineage import DRAWN
from icvos.errors import UsageError, WeightsError, did_you_mean, in_words
from icvos.foundation.backbone import Backbone, BackboneFeatures
from icvos.foundation.bottleneck import Bottleneck, all_bottlenecks, masked_bottlenecks
from icvos.foundation.cpu.chunks import at_a_time
from icvos.foundation.cpu.convolution import ConvolutionLayers, fits_convolution
from icvos.foundation.dinov2 import DINOv2
from icvos.foundation.efficientnet_lite import CLASSIFIER, lite2_layers, own_key
from icvos.foundation.sizes import check_sizes, check_types

__all__ = [
    "BACKBONES",
    "DEFAULT_DILATION",
    "DILATIONS",
    "Dilation",
    "LayeredBackbone",
    "create_backbone",
    "freeze",
    "load_backbone",
    "with_dilation",
]

Dilation = Literal["torchvision", "pspnet"]

#: How a ResNet's layers 3 and 4 trade their stride for dilation: that of the 3x3 convolution in a layer's first block,
#: and in its other blocks. ``torchvision`` is ``replace_stride_with_dilation=[False, True, True]``: the first block
#: keeps the dilation of the layer before (DC-SAM, VRP-SAM). ``pspnet`` dilates every block (PSPNet, arXiv 1612.01105,
#: and PFENet).
DILATIONS: dict[Dilation, tuple[tuple[int, int], tuple[int, int]]] = {
    "torchvision": ((1, 2), (2, 4)),
    "pspnet": ((2, 2), (4, 4)),
}

#: What options that name no dilation mean: every ResNet of icvos 0.1.0, whose files do not say it, is built so.
DEFAULT_DILATION: Dilation = "pspnet"

#: Blocks of layers 1 to 4.
RESNETS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


class LayeredBackbone(Backbone):
    """A convolutional backbone as five modules, ``layer0`` to ``layer4``; the names are those of the checkpoints."""

    NAMES = ("layer0", "layer1", "layer2", "layer3", "layer4")
    layer0: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, layers: tuple[nn.Module, ...], channels: tuple[int, int]) -> None:
        super().__init__()
        for name, layer in zip(self.NAMES, layers, strict=True):
            self.add_module(name, layer)
        self.channels = channels

    def forward(self, images: Tensor, *, top: bool = False) -> BackboneFeatures:
        """See ``Backbone``; ``top`` runs layer 4 as well."""
        each = at_a_time(images)
        if len(images) > each and fits_convolution(images) and not _learns(self):
            return BackboneFeatures.join([self(image, top=top) for image in images.split(each)])
        middle = self.layer2(self.layer1(self.layer0(images)))
        features = BackboneFeatures(middle, self.layer3(middle))
        return BackboneFeatures(middle, features.deep, self.top(features)) if top else features

    def top(self, features: BackboneFeatures, mask: Tensor | None = None) -> Tensor:
        """Return layer 4 of the deep map, which is masked first."""
        deep = features.deep if mask is None else features.deep * mask.to(features.deep.dtype)
        return self.layer4(deep)

    def tops(self, features: BackboneFeatures, masks: Sequence[Tensor]) -> list[Tensor]:
        """See ``Backbone``; bottlenecks share what does not depend on the mask, and leave out what cannot be seen."""
        if _learns(self.layer4):
            # Norms over the batch see each masked map whole and by itself, as the public codes' calls do.
            return [self.top(features, mask) for mask in masks]
        if features.deep.device.type != "cpu":
            deep = torch.cat([features.deep * mask.to(features.deep.dtype) for mask in masks])
            return list(self.layer4(deep).split(len(features.deep)))
        if all_bottlenecks(self.layer4):
            return masked_bottlenecks(self.layer4, features.deep, masks)
        return [self.top(features, mask) for mask in masks]


def _learns(layer: nn.Module) -> bool:
    """Return whether a batch norm takes its statistics from the batch."""
    return any(module.training for module in layer.modules() if isinstance(module, nn.BatchNorm2d))


def _convolutions(plan: tuple[int | str, ...], inside: int, *, bias: bool) -> tuple[nn.Sequential, int]:
    """Build 3x3 convolutions with norm and ReLU; "pool" halves, "half" makes the next convolution do so."""
    layers: list[nn.Module] = []
    stride = 1
    for step in plan:
        if step == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        elif step == "half":
            stride = 2
        else:
            layers += [
                nn.Conv2d(inside, int(step), 3, stride, padding=1, bias=bias),
                nn.BatchNorm2d(int(step)),
                nn.ReLU(inplace=True),
            ]
            inside, stride = int(step), 1
    return nn.Sequential(*layers), inside


def _dilations(dilation: Dilation) -> tuple[tuple[int, int], tuple[int, int]]:
    if not isinstance(dilation, str) or dilation not in DILATIONS:
        raise UsageError(f"a ResNet has no dilation {in_words(dilation)}", expected=" or ".join(DILATIONS))
    return DILATIONS[dilation]


def _resnet(blocks: tuple[int, int, int, int], *, dilation: Dilation = DEFAULT_DILATION) -> LayeredBackbone:
    stem, inside = _convolutions(("half", 64, 64, 128), 3, bias=False)
    stem.append(nn.MaxPool2d(3, 2, padding=1))
    layers: list[nn.Module] = [ConvolutionLayers(*stem)]
    dilations = ((1, 1), (1, 1), *_dilations(dilation))
    for width, count, stride, (first, others) in zip((64, 128, 256, 512), blocks, (1, 2, 1, 1), dilations):
        stage = [Bottleneck(inside, width, stride=stride, dilation=first, project=True)]
        inside = 4 * width
        stage += [Bottleneck(inside, width, stride=1, dilation=others, project=False) for _ in range(count - 1)]
        layers.append(nn.Sequential(*stage))
    return LayeredBackbone(tuple(layers), (512, 1024))


def _vgg16() -> LayeredBackbone:
    plans: tuple[tuple[int | str, ...], ...] = (
        (64, 64, "pool"),
        (128, 128, "pool"),
        (256, 256, 256, "pool"),
        (512, 512, 512, "pool"),
        (512, 512, 512),
    )
    layers, inside = [], 3
    for plan in plans:
        layer, inside = _convolutions(plan, inside, bias=True)
        layers.append(ConvolutionLayers(*layer))
    return LayeredBackbone(tuple(layers), (256, 512))


def _small(width: int = 16) -> LayeredBackbone:
    """Strides 2, 4, 8, 8, 8 and at most 4 * width channels."""
    plans: tuple[tuple[int | str, ...], ...] = (
        ("half", width),
        ("half", width),
        ("half", 2 * width),
        (4 * width,),
        (4 * width,),
    )
    layers, inside = [], 3
    for plan in plans:
        layer, inside = _convolutions(plan, inside, bias=False)
        layers.append(ConvolutionLayers(*layer))
    return LayeredBackbone(tuple(layers), (2 * width, 4 * width))


class _Residual(nn.Module):
    """Two 3x3 convolutions around which the input goes, dilated."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of each place: it does not mind how much of the map is masked out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Top(nn.Module):
    """Two 3x3 convolutions around which the input goes, with channel norms: for masked maps as for whole ones."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
            _ChannelNorm(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Context(nn.Module):
    """A look at the whole image: a grid half as fine with self-attention, added to the finer one."""

    def __init__(self, width: int, inside: int, layers: int, heads: int) -> None:
        super().__init__()
        self.down, _ = _convolutions(("half", inside), width, bias=False)
        self.near = nn.Sequential(_Residual(inside, 1), _Residual(inside, 1))
        layer = nn.TransformerEncoderLayer(
            inside, heads, 2 * inside, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.far = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.fuse, _ = _convolutions((width,), width + inside, bias=False)
        self.after = _Residual(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        coarse = self.near(self.down(x))
        height, width = coarse.shape[-2:]
        # Zero padding tells the convolutions where the borders are: no position code is needed on a small grid.
        tokens = self.far(coarse.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (height, width))
        fine = nn.functional.interpolate(tokens, x.shape[-2:], mode="bilinear", align_corners=False)
        return self.after(self.fuse(torch.cat((x, fine), dim=1)))


def _compact(width: int = 80, inside: int = 112) -> LayeredBackbone:
    """Strides 2, 4, 8, 8, 8; the deep map sees the whole image through attention at stride 16. For the drawn world."""
    layers: list[nn.Module] = []
    channels = 3
    for outside, blocks in ((width // 4, 0), (width // 2, 1), (width, 1)):
        down, channels = _convolutions(("half", outside), channels, bias=False)
        layers.append(nn.Sequential(*down, *(_Residual(channels, 1) for _ in range(blocks))))
    layers.append(_Context(width, inside, 2, 4))
    layers.append(nn.Sequential(_Top(width, 2), _Top(width, 1)))
    return LayeredBackbone(tuple(layers), (width, width))


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "resnet50": partial(_resnet, RESNETS["resnet50"]),
    "resnet101": partial(_resnet, RESNETS["resnet101"]),
    "vgg16_bn": _vgg16,
    "dinov2_vitb14": DINOv2,
    "dinov2_vitl14": partial(DINOv2, width=1024, depth=24, heads=16),
    "efficientnet-lite2": lambda: LayeredBackbone(*lite2_layers()),
    "small": _small,
    "compact": _compact,
}


#: Those whose only weights are of ``icvos train demo-backbone``.
DRAWN_BACKBONES = ("small", "compact")


def create_backbone(name: str, options: Mapping[str, Any] | None = None) -> Backbone:
    """Build a backbone with random weights, in eval mode and frozen.

    Args:
        name: A key of ``BACKBONES``.
        options: ``dilation`` of a ResNet (``DILATIONS``; without it ``DEFAULT_DILATION``); sizes of the others.

    Raises:
        UsageError: An unknown name, an option it does not take, or a size out of bounds (``sizes.BOUNDS``).
    """
    if name not in BACKBONES:
        raise UsageError(f"no backbone {in_words(name)}", fix=did_you_mean(name, BACKBONES))
    known = list(signature(BACKBONES[name]).parameters)
    for option, value in (options or {}).items():
        if option not in known:
            raise UsageError(f"backbone {name} has no option {in_words(option)}", expected=" or ".join(known) or "none")
        if isinstance(value, (list, tuple)):
            raise UsageError(f"{option} of backbone {name} is a list", expected="one value")
    check_sizes(f"backbone {name}", options or {})
    backbone = BACKBONES[name](**dict(options or {}))
    if name in DRAWN_BACKBONES:
        backbone.trained_on = DRAWN.data
    return freeze(backbone)


def with_dilation(name: str, options: Mapping[str, Any], *, default: Dilation = DEFAULT_DILATION) -> dict[str, Any]:
    """Return a backbone's options such that those of a ResNet name its dilation; others stay as they are.

    Args:
        name: See ``create_backbone``.
        options: See ``create_backbone``.
        default: The dilation where the options name none: a method's for a new model; left out, what is meant by a
            file that was written before 0.2.0.

    Raises:
        UsageError: The options are no mapping, or a ResNet has no such dilation.
    """
    if not isinstance(options, Mapping):
        raise UsageError(f"backbone_options is {in_words(options)}", expected="options by name")
    if name not in RESNETS:
        return dict(options)
    named = {"dilation": default, **options}
    _dilations(named["dilation"])
    return named


def freeze(module: Any) -> Any:
    """Put a module into eval mode without gradients; return it."""
    return module.eval().requires_grad_(False)


def load_backbone(backbone: Backbone, state: Mapping[str, Tensor], *, where: str | None = None) -> None:
    """Load a publisher's weights: deep-stem ResNet (``conv1`` to ``bn3``), torchvision VGG-16-bn, DINOv2,
    EfficientNet-Lite2 (``_conv_stem``, ``_blocks``), or our names.

    The classifier (``fc.*``, ``classifier.*``; EfficientNet's with its head), DINOv2's ``mask_token`` and a ``module.``
    prefix are dropped.

    Raises:
        WeightsError: A key is missing, unknown or of another shape; nothing is loaded.
    """
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if not key.startswith(("fc.", "classifier.", "mask_token", *CLASSIFIER)):
            renamed[_own_key(key)] = value
    expected = backbone.state_dict()
    # num_batches_tracked is absent from files older than it, and plays no part in eval mode.
    missing = [key for key in expected if key not in renamed and not key.endswith("num_batches_tracked")]
    unknown = [key for key in renamed if key not in expected]
    shapes = [key for key, value in renamed.items() if key in expected and expected[key].shape != value.shape]
    for what, keys in (("misses", missing), ("has unknown", unknown), ("has other shapes at", shapes)):
        if keys:
            raise WeightsError(
                f"the backbone checkpoint {what} {', '.join(keys[:4])}{f' and {len(keys) - 4} more' * (len(keys) > 4)}",
                where=where,
                expected=f"weights of {type(backbone).__name__} with {len(expected)} tensors",
                fix="a torchvision resnet has another stem: use resnet50_v2.pth"
                if "layer0.3.weight" in missing
                else None,
            )
    check_types(expected, renamed, where=where)
    backbone.load_state_dict(renamed, strict=False)


def _own_key(key: str) -> str:
    """Rename one key of a deep-stem ResNet, of torchvision's VGG or of EfficientNet-Lite."""
    part, _, rest = key.partition(".")
    if part in ("conv1", "conv2", "conv3"):
        return f"layer0.{3 * (int(part[4]) - 1)}.{rest}"
    if part in ("bn1", "bn2", "bn3"):
        return f"layer0.{3 * (int(part[2]) - 1) + 1}.{rest}"
    if part == "features":
        number, _, name = rest.partition(".")
        # torchvision's indices at which our layers begin, each after a pool.
        starts = (0, 7, 14, 24, 34)
        layer = sum(first <= int(number) for first in starts) - 1
        return f"layer{layer}.{int(number) - starts[layer]}.{name}"
    return own_key(key)
