"""INSID3: in-context segmentation by a frozen DINOv3 alone, nothing trained (Cuttano et al., CVPR 2026,
arXiv 2603.28480).

The steps are those of the authors' code (Apache-2.0): patch features without what a black image has at the same place;
candidates by the support's prototype and by matches back to the support; clusters of the query's patches; the cluster
nearest to the support, and those that go with it. Departures: an empty support is left out, the supports are encoded
once, and the number of components that are removed is below that of the channels. Left out: the CRF as a refiner, and
the matching of keypoints.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo
from icvos.errors import MissingExtraError, UsageError, WeightsError

__all__ = ["Fitted", "Insid3", "Insid3Options"]

# The authors' side, for patches of 16 pixels; the multiple of 14 next to it; and their number of components.
SIZES = {16: 1024, 14: 1022}
COMPONENTS, WIDTH = 500, 1024
# Ours: components of a backbone that is no ViT, whose black image shows the border alone (on training shapes of the
# drawn world 2, 4 and 8 are alike, 39 is worse); the greatest side; and the most patches, of which all are compared
# with all (6 GB).
OTHER_COMPONENTS, GREATEST_SIZE, MOST_PATCHES = 4, 2048, 128 * 128


@dataclass(frozen=True)
class Insid3Options:
    """Settings of INSID3.

    Attributes:
        size: Side of the square that images are squashed to, pixels; a multiple of the patch. 0: 1024 for DINOv3, 1022
            for DINOv2, what the file says of another backbone.
        components: Directions of the black image's features that are removed; below the number of channels. 0: the
            authors' 500, where a ViT has more channels, else the share that 500 are of ViT-L's 1024; 4 of a backbone
            that is no ViT.
        tau: Clusters are merged while their mean cosine is above it.
        merge: A cluster whose score is above it belongs to the thing.
    """

    size: int = 0
    components: int = 0
    tau: float = 0.6
    merge: float = 0.2


DEFAULTS = Insid3Options()


@dataclass(frozen=True)
class Fitted:
    """What the S supports say.

    Attributes:
        features: (S, C, h, w) float without the positional part, of length 1.
        masks: (S, h, w) bool.
        prototype: (C,) float of length 1.
    """

    features: Any
    masks: Any
    prototype: Any


class Insid3(ImageModel):
    """INSID3 on DINOv3, on DINOv2, or on another backbone of icvos."""

    info = ModelInfo(
        name="insid3",
        version="1",
        paper="Cuttano et al., INSID3: Training-Free In-Context Segmentation with DINOv3, CVPR 2026 (arXiv 2603.28480)",
        licence="Apache-2.0; weights of DINOv3: its own licence of Meta's, of DINOv2: Apache-2.0",
        weights={
            "backbone": WeightInfo(
                "a DINOv3 ViT-S, B or L/16: Meta's dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth, or model.safetensors "
                "of facebook/dinov3-vitl16-pretrain-lvd1689m on huggingface.co (both on request); or a DINOv2 "
                "(icvos weights list)"
            )
        },
        training_data=("lvd-1689m",),
        extra="insid3",
        demo_weights={"backbone": "dcsam/weights/demo_dcsam.safetensors"},
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        options: Insid3Options = DEFAULTS,
    ) -> None:
        super().__init__(device=device, weights=weights)
        if importlib.util.find_spec("scipy") is None:
            raise MissingExtraError("scipy", "insid3", "model 'insid3'")
        self.options = options
        self.backbone, saved_size = open_patches(self.weights["backbone"])
        self.backbone = self.backbone.to(device)
        patch = int(getattr(self.backbone, "patch", 1))
        self.info = replace(self.info, training_data=self.backbone.trained_on)
        self.size = options.size or saved_size or SIZES.get(patch, 512)
        if self.size % patch or not 2 * patch <= self.size <= GREATEST_SIZE:
            expected = f"a multiple of the backbone's patch, {patch}, from {2 * patch} to {GREATEST_SIZE}"
            raise UsageError(f"size={self.size}", expected=expected)
        if not (-1 <= options.tau <= 1 and -1 <= options.merge <= 1):
            raise UsageError(f"tau={options.tau}, merge={options.merge}", expected="numbers from -1 to 1")
        noise = unit(self.patches([np.zeros((self.size, self.size, 3), np.uint8)]))[0]
        if not bool(noise.isfinite().all()):
            raise WeightsError("features of these weights are no finite numbers", where=self.weights["backbone"])
        width, patches = noise.shape[0], noise[0].numel()
        if patches > MOST_PATCHES:
            raise UsageError(f"size={self.size} makes {patches:,} patches", expected=f"at most {MOST_PATCHES:,}")
        usual = COMPONENTS if width > COMPONENTS else width * COMPONENTS // WIDTH
        self.components = options.components or (usual if patch > 1 else OTHER_COMPONENTS)
        if not 1 <= self.components < width:
            raise UsageError(
                f"components={self.components} of a backbone of {width} channels",
                expected=f"1 to {width - 1}: with all directions removed, rounding is what is left",
            )
        self.projector = positional_projector(noise, self.components)

    def patches(self, images: Sequence[np.ndarray]) -> Any:
        """Return (B, C, h, w) float features of (H, W, 3) uint8 images, as the backbone's last layer leaves them."""
        import torch
        from PIL import Image

        from icvos.foundation.pixels import to_float

        side = (self.size, self.size)
        out = []
        for image in images:
            square = np.array(Image.fromarray(image).resize(side, Image.Resampling.BILINEAR))
            with torch.no_grad():
                top = self.backbone(to_float(torch.from_numpy(square)[None].to(self.device)), top=True).top
            out.append(top.float())
        return torch.cat(out)

    def fit(self, supports: Sequence[Support], *, seed: int) -> Fitted | None:
        """Return what the supports with a mask say, or None if none has one; each is encoded once."""
        import torch

        seen = [support for support in supports if support.mask.any()]
        if not seen:
            return None
        features = without_position(unit(self.patches([support.image for support in seen])), self.projector)
        squares = [square_mask(torch.from_numpy(np.array(s.mask)), self.size) for s in seen]
        masks = torch.stack([grid_mask(square, features.shape[-2:]) for square in squares]).to(features.device)
        return Fitted(features, masks, prototype_of(features, masks))

    def predict(self, fitted: Fitted | None, image: np.ndarray) -> Prediction:
        size = (image.shape[0], image.shape[1])
        if fitted is None:
            return Prediction(np.zeros(size, bool), confidence=0.0)
        original = unit(self.patches([image]))[0]
        located = locate(fitted, without_position(original[None], self.projector)[0])
        mask = aggregate(original, located, tau=self.options.tau, merge=self.options.merge)
        confidence = float(located.similarity[mask].mean()) if bool(mask.any()) else 0.0
        return Prediction(enlarged(mask, self.size, size), confidence=confidence)


def open_patches(path: Path) -> tuple[Any, int]:
    """Return a backbone in eval mode, and the side of its images where its file says one, else 0.

    Raises:
        WeightsError: It is no backbone that is known, or damaged.
        MissingExtraError: It is a DINOv3, and transformers is not installed.
    """
    from baselines.heads import backbone_from
    from baselines.prototype import backbone_inside
    from icvos.foundation.backbones import with_dilation
    from icvos.foundation.dinov2 import dinov2_sizes
    from icvos.foundation.dinov3 import is_dinov3, open_dinov3
    from icvos.foundation.weights import load_state

    state = load_state(path)
    if is_dinov3(state):
        if importlib.util.find_spec("transformers") is None:
            raise MissingExtraError("transformers", "insid3", "a DINOv3")
        return open_dinov3(state, where=path), 0
    saved = backbone_inside(path)
    name, options = saved.get("backbone", ""), saved.get("backbone_options", {})
    if not name and (options := dinov2_sizes(state)):
        name = "dinov2_vitb14"
    if not name:
        raise WeightsError("no backbone that is known", where=path, expected="a DINOv3, a DINOv2, or one of icvos' own")
    backbone = backbone_from(state, name, with_dilation(name, options), where=path)
    return backbone.float(), saved.get("image_size", 0)


# ------------------------------------------------------------------------------------------------------------ the steps


def unit(features: Any) -> Any:
    """Return (B, C, h, w) features of length 1 at each patch."""
    from torch.nn.functional import normalize

    return normalize(features, dim=1)


def positional_projector(noise: Any, components: int) -> Any:
    """Return (C, C), the projector on the leading directions of the black image's (C, h, w) features.

    At a black image only places differ: what its patches say, less their mean, is about the place (section 3 of the
    paper).
    """
    import torch

    columns = noise.flatten(1)
    columns = columns - columns.mean(dim=1, keepdim=True)
    basis = torch.linalg.svd(columns, full_matrices=False)[0][:, :components]
    return basis @ basis.T


def without_position(features: Any, projector: Any) -> Any:
    """Return (B, C, h, w) features without their part on the projector's directions, of length 1."""
    import torch

    return unit(features - torch.einsum("cd,bdhw->bchw", projector, features))


def square_mask(mask: Any, size: int) -> Any:
    """Return a (H, W) bool mask that is not empty as (S, S) bool, by the nearest pixel.

    Ours: a thing that this loses keeps the pixel at its centre (the authors' code fails).
    """
    import torch
    from torch.nn.functional import interpolate

    square = interpolate(mask[None, None].float(), (size, size), mode="nearest")[0, 0] > 0.5
    if not bool(square.any()):
        pixels = zip(torch.where(mask), mask.shape, strict=True)
        row, column = (int(at.float().mean() * size / side) for at, side in pixels)
        square[row, column] = True
    return square


def grid_mask(square: Any, grid: Sequence[int]) -> Any:
    """Return a square mask that is not empty on the (h, w) grid of patches, never empty.

    Bilinear and over a half; else by the nearest pixel; else the one patch at the centre of the mask's pixels.
    """
    import torch
    from torch.nn.functional import interpolate

    values, (height, width) = square[None, None].float(), grid
    for mode in ({"mode": "bilinear", "align_corners": False}, {"mode": "nearest"}):
        small = interpolate(values, (height, width), **mode)[0, 0] > 0.5
        if bool(small.any()):
            return small
    small = torch.zeros(height, width, dtype=torch.bool, device=square.device)
    # One divisor for both axes, as the authors have it: grids are square.
    row, column = (int(pixels.float().mean() / (square.shape[1] // width)) for pixels in torch.where(square))
    small[min(row, height - 1), min(column, width - 1)] = True
    return small


def prototype_of(features: Any, masks: Any) -> Any:
    """Return (C,) of length 1: the mean over S supports of the mean of (S, C, h, w) features in (S, h, w) masks."""
    import torch
    from torch.nn.functional import normalize

    means = [each[:, mask].mean(dim=1) for each, mask in zip(features, masks, strict=True)]
    return normalize(torch.stack(means).mean(dim=0), dim=0)


@dataclass(frozen=True)
class Located:
    """Where the thing may be in a query.

    Attributes:
        features: (C, h, w) without the positional part.
        prototype: (C,) of the supports.
        similarity: (h, w) to the prototype.
        forward, backward: (h, w) bool: like the prototype; matched by the inside of enough supports' masks.
        votes: (h, w) int: of how many supports.
    """

    features: Any
    prototype: Any
    similarity: Any
    forward: Any
    backward: Any
    votes: Any

    @property
    def candidates(self) -> Any:
        """(h, w) bool: forward and backward."""
        return self.forward & self.backward


def locate(fitted: Fitted, features: Any) -> Located:
    """Return where the supports' thing may be in a query of (C, h, w) features without the positional part.

    Forward: a positive cosine to the prototype, else what is above the 0.9 quantile. Backward: the nearest patch of a
    support lies in its mask, for half of the supports or more.
    """
    import torch

    similarity = torch.einsum("c,chw->hw", fitted.prototype, features)
    forward = similarity > 0
    if not bool(forward.any()):
        forward = similarity > torch.quantile(similarity.flatten(), 0.9)
    votes = torch.zeros(similarity.shape, dtype=torch.int32, device=similarity.device)
    query = features.flatten(1).T
    for support, mask in zip(fitted.features, fitted.masks, strict=True):
        nearest = (query @ support.flatten(1)).argmax(dim=1)
        votes += mask.flatten()[nearest].view_as(similarity)
    backward = votes >= (len(fitted.features) + 1) // 2
    return Located(features, fitted.prototype, similarity, forward, backward, votes)


def clusters(features: Any, tau: float) -> Any:
    """Return (h, w) int labels from 0: average linkage of (C, h, w) features of length 1, cut at cosine ``tau``."""
    import torch
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    patches = features.flatten(1).T
    if len(patches) < 2:
        return torch.zeros(features.shape[1:], dtype=torch.int64, device=features.device)
    distances = (1 - (patches @ patches.T).clamp(-1, 1)).cpu().double().numpy()
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    labels = fcluster(tree, t=1 - tau, criterion="distance") - 1
    return torch.from_numpy(labels.astype(np.int64)).to(features.device).view(features.shape[1:])


@dataclass(frozen=True)
class Scores:
    """What makes clusters part of the thing, (K,) float each but ``seed``.

    Attributes:
        prototypes: (K, C) means without the positional part, of length 1.
        seed: The cluster that has a candidate and is nearest to the supports.
        cross: Mean similarity to the supports' prototype.
        intra: Cosine to the seed, with the positional part.
        area: Share of candidates; 1 for the seed.
    """

    prototypes: Any
    seed: int
    cross: Any
    intra: Any
    area: Any

    @property
    def combined(self) -> Any:
        """Their product."""
        return self.cross * self.intra * self.area


def scores_of(original: Any, located: Located, labels: Any) -> Scores:
    """Return the scores of the clusters ``labels`` (h, w) of a query of (C, h, w) features; there are candidates."""
    import torch
    from torch.nn.functional import normalize, one_hot

    members = one_hot(labels.flatten()).float()
    counts = members.sum(dim=0)

    def means(values: Any) -> Any:
        return (members.T @ values) / counts[:, None]

    prototypes = normalize(means(located.features.flatten(1).T), dim=1)
    share = means(located.candidates.flatten()[:, None].float())[:, 0]
    nearness = (prototypes @ located.prototype).masked_fill(share == 0, -torch.inf)
    seed = int(nearness.argmax())
    whole = normalize(means(original.flatten(1).T), dim=1)
    area = share.clone()
    area[seed] = 1
    return Scores(prototypes, seed, means(located.similarity.flatten()[:, None])[:, 0], whole @ whole[seed], area)


def aggregate(original: Any, located: Located, *, tau: float, merge: float) -> Any:
    """Return the thing's (h, w) bool patches: whole clusters that score above ``merge``; none without candidates."""
    import torch

    if not bool(located.candidates.any()):
        return torch.zeros_like(located.candidates)
    labels = clusters(original, tau)
    return (scores_of(original, located, labels).combined > merge)[labels]


def enlarged(mask: Any, square: int, size: tuple[int, int]) -> Any:
    """Return (h, w) bool patches as (H, W) bool: bilinear to the square, cut at a half, and again to the image."""
    from torch.nn.functional import interpolate

    for side in ((square, square), size):
        mask = interpolate(mask[None, None].float(), side, mode="bilinear", align_corners=False)[0, 0] > 0.5
    return mask
