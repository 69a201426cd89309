"""Matcher: Liu et al., "Matcher: Segment Anything with One Shot Using All-Purpose Feature Matching" (ICLR 2024).

arXiv 2305.13310. Nothing is trained: DINOv2's patches of the support's thing are matched with the target's in both
directions (section 3.2), subsets of the matched points prompt SAM (section 3.3), and the masks that it proposes are
judged by how their patches fit the thing's, filtered and merged (section 3.4). The steps are in
``baselines/matcher/matching.py``. Numbers and order follow the authors' code (BSD-2 for academic use), none of which is
copied.
Departures: the merged masks come back to the image's size as logits, where the authors score at 518 x 518; every random
choice comes from the episode's seed; an empty mask is no proposal; where nothing is proposed the answer is empty.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from baselines.matcher import matching
from icvos import ImageModel, ModelInfo, Prediction, Support, WeightInfo
from icvos.errors import MissingExtraError, UsageError, WeightsError

__all__ = ["Matcher", "MatcherOptions", "Patches"]

#: Of the dense grid: points a side, least predicted IoU and stability (the published code, fixed).
_DENSE = (64, 0.88, 0.95)


@dataclass(frozen=True)
class Patches:
    """What Matcher keeps of its supports.

    Attributes:
        features: (N, C) float of the patches of all supports, of length 1.
        inside: (N,) bool, on the thing.
        shots: Supports that had a mask.
        seed: The episode's.
    """

    features: Any
    inside: np.ndarray
    shots: int
    seed: int


@dataclass(frozen=True)
class Proposals:
    """Masks that SAM proposed: low-resolution logits (K, 1, h, w), predicted IoU (K,), boxes (K, 4) in pixels of the
    square, and the patches that each covers, (K, M) bool.
    """

    logits: Any
    iou: Any
    boxes: Any
    grids: Any

    def __getitem__(self, index: Any) -> Proposals:
        return Proposals(self.logits[index], self.iou[index], self.boxes[index], self.grids[index])


@dataclass(frozen=True)
class MatcherOptions:
    """Settings of Matcher.

    ``recipe`` is the authors' table of settings; every other option that is None is what the recipe says. Marks: [code]
    the published code's setting, [ours].

    Attributes:
        recipe: [code] ``default``; ``coco`` (COCO-20i and LVIS-92i; with more than one support it merges 5 masks, as
            its 5-shot script does); ``fss`` (FSS-1000); ``parts`` (PASCAL-Part and PACO-Part).
        sample_min: [code] Fewest points of a prompt.
        sample_max: [code] Most points of a prompt.
        iterations: [code] Random prompts of each size; all subsets are taken of up to 8 points.
        prompts: [code] Prompts are subsets of the matched ``points`` or of the 8 ``centres`` of their clusters.
        box: [code] Prompt the extent of the matched points too.
        dense: [code] Prompt a grid of 64 x 64 single points too (predicted IoU > 0.88, stability >= 0.95).
        multimask: [code] Three masks a prompt instead of one.
        min_iou: [code] A prompt's mask needs a predicted IoU above it; 0 asks for nothing.
        min_stability: [code] A prompt's mask needs this stability (offset 1); 0 asks for nothing.
        nms: [code] Of boxes with a greater IoU, the one of lesser predicted IoU goes.
        alpha: [code] Weight of the earth mover's distance in the score.
        beta: [code] Weight of purity times coverage ** ``exponent``.
        exponent: [code] See ``beta``.
        emd_filter: [code] Least 1 - EMD of a mask, at most the best one's.
        purity_filter: [code] Least purity (matched points a patch of the mask), at most the best one's.
        coverage_filter: [code] Least coverage (share of the matched points inside), at most the best one's.
        score_filter: [code] Merge the masks near the best score, instead of those that reach ``topk`` of it.
        topk: [code] That share of the best score.
        merge: [code] Most masks that are merged.
        empty_as_centre: Repeat the published code: a support whose mask is empty gets the 14 x 14 block in its middle.
        empty_as_whole: Repeat the published code: an empty mask is kept, and judged as if it covered all patches.
        size: [code: 518] Side of the square, pixels; a multiple of the patch. Another size is [ours].
        backbone: [code: DINOv2 ViT-L/14] As ``icvos.foundation.backbones`` names it; ``auto`` reads it from the file.
        batch: [ours] Prompts that are decoded at a time.
    """

    recipe: Literal["default", "coco", "fss", "parts"] = "default"
    sample_min: int | None = None
    sample_max: int | None = None
    iterations: int | None = None
    prompts: Literal["points", "centres"] | None = None
    box: bool | None = None
    dense: bool | None = None
    multimask: bool | None = None
    min_iou: float | None = None
    min_stability: float | None = None
    nms: float | None = None
    alpha: float | None = None
    beta: float | None = None
    exponent: float | None = None
    emd_filter: float | None = None
    purity_filter: float | None = None
    coverage_filter: float | None = None
    score_filter: bool | None = None
    topk: float | None = None
    merge: int | None = None
    empty_as_centre: bool = False
    empty_as_whole: bool = False
    size: int = 518
    backbone: str = "auto"
    batch: int = 64


DEFAULTS = MatcherOptions()


class Matcher(ImageModel):
    """Training-free matching with DINOv2 and SAM.

    Several supports: their patches are put side by side, and all are matched at once (the published code). Supports
    whose mask is empty are left out (ours).
    """

    info = ModelInfo(
        name="matcher",
        version="1",
        paper="Liu et al., Matcher: Segment Anything with One Shot Using All-Purpose Feature Matching, ICLR 2024 "
        "(arXiv 2305.13310)",
        licence="Apache-2.0; weights of DINOv2 and SAM: Apache-2.0",
        weights={
            "dinov2": WeightInfo("dinov2-vitl14, as in the paper, or another DINOv2 (icvos weights list)"),
            "sam": WeightInfo("a SAM or SAM 2 checkpoint; the paper used SAM ViT-H (icvos weights list)"),
        },
        training_data=("lvd-142m", "sa-1b:train"),
        extra="matcher",
    )

    def __init__(
        self,
        *,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        options: MatcherOptions = DEFAULTS,
    ) -> None:
        super().__init__(device=device, weights=weights)
        self.options = options
        if importlib.util.find_spec("scipy") is None:
            raise MissingExtraError("scipy", "matcher", "model 'matcher'")
        if options.recipe not in matching.RECIPES:
            raise UsageError(f"no recipe '{options.recipe}'", expected=" or ".join(matching.RECIPES))
        changes = {field.name: getattr(options, field.name) for field in fields(matching.Recipe)}
        changes = {name: value for name, value in changes.items() if value is not None}
        self.recipe = replace(matching.RECIPES[options.recipe], **changes)
        self.merge_shots = 5 if options.recipe == "coco" and options.merge is None else self.recipe.merge
        self.empty_as_centre, self.empty_as_whole = options.empty_as_centre, options.empty_as_whole
        from icvos.foundation.load import open_segmenter

        self.backbone = _open(self.weights["dinov2"], options.backbone).to(device)
        self.patch = int(self.backbone.patch)
        size, batch = options.size, options.batch
        if size < 2 * self.patch or size % self.patch or batch < 1:
            raise UsageError(f"size={size}, batch={batch}", expected=f"a multiple of {self.patch}; 1 or more prompts")
        self.size, self.batch = size, batch
        self.segmenter = open_segmenter(self.weights["sam"], device=device)
        seen = (*self.backbone.trained_on, *(self.segmenter.trained_on or ("sa-1b:train",)))
        self.info = replace(self.info, training_data=seen)

    # ---------------------------------------------------------------------------------------------------- support

    def _features(self, images: Sequence[np.ndarray]) -> Any:
        """Return (B * M, C) patch features of (S, S, 3) uint8 images, before the final norm, of length 1."""
        import torch
        import torch.nn.functional as F

        from icvos.foundation.pixels import to_float

        maps = [
            self.backbone(to_float(torch.tensor(image, device=self.device)[None]), top=True).top for image in images
        ]
        return F.normalize(torch.cat(maps).flatten(2).transpose(1, 2).flatten(0, 1), dim=1)

    def _squared(self, support: Support) -> tuple[np.ndarray, np.ndarray] | None:
        """Return a support as a square, or None where its mask is empty; a thing that nearest loses is put back."""
        from icvos.images import squeezed

        image, mask = squeezed(support.image, support.mask, self.size)
        if mask.any():
            return image, mask
        mask = np.zeros((self.size, self.size), bool)
        rows, columns = np.nonzero(support.mask)
        mask[rows * self.size // support.size[0], columns * self.size // support.size[1]] = True
        if not mask.any() and self.empty_as_centre:
            start = self.size // 2 - 7
            mask[start : start + 14, start : start + 14] = True
        return (image, mask) if mask.any() else None

    def fit(self, supports: Sequence[Support], *, seed: int) -> Patches | None:
        """Return the patches of the supports, or None if none of them has a mask."""
        import torch

        squares = [pair for pair in map(self._squared, supports) if pair is not None]
        if not squares:
            return None
        with torch.no_grad():
            features = self._features([image for image, _ in squares])
        inside = np.concatenate([matching.grid_mask(mask, self.patch).ravel() for _, mask in squares])
        return Patches(features, inside, len(squares), seed)

    # ------------------------------------------------------------------------------------------------------ query

    def predict(self, fitted: Patches | None, image: np.ndarray) -> Prediction:
        """Return the union of the masks that are merged; its score is the greatest of their logits."""
        import torch
        import torch.nn.functional as F

        from icvos.images import squeezed

        size = (image.shape[0], image.shape[1])
        nothing = Prediction(np.zeros(size, bool), confidence=0.0)
        if fitted is None:
            return nothing
        square, _ = squeezed(image, np.zeros(size, bool), self.size)
        with torch.no_grad():
            similarity = (fitted.features @ self._features([square]).T).double().cpu().numpy()
            targets = matching.strongest(*matching.matched(similarity, fitted.inside))
            generator = np.random.default_rng(fitted.seed)
            proposals = self._propose(square, targets, generator)
            if proposals is None:  # the published code raises here
                return nothing
            values = self._judge(similarity[fitted.inside], targets, proposals)
            left = matching.kept(values, self.recipe)
            scores = matching.scores(values[:, left], self.recipe)
            rules = replace(self.recipe, merge=self.merge_shots) if fitted.shots > 1 else self.recipe
            best = matching.chosen(scores, rules)
            merged = self._restore(proposals.logits[left[best]].to(self.device)).amax(dim=0, keepdim=True)
            full = F.interpolate(merged, size, mode="bilinear", align_corners=False)[0, 0]
            return Prediction(full > 0, score=full, confidence=float(scores[best[0]]))

    def _judge(self, similarity: np.ndarray, targets: np.ndarray, proposals: Proposals) -> np.ndarray:
        """Return the (3, K) metrics of what was proposed, from (n, M) similarities of the thing's patches."""
        grids = proposals.grids.cpu().numpy()
        grids = grids | ~grids.any(axis=1, keepdims=True)  # empty ones are here with ``empty_as_whole`` only
        return matching.metrics((1 - similarity) / 2, targets, grids)

    def _points(self, targets: np.ndarray) -> np.ndarray:
        """Return (P, 2) int points (x, y) in the middle of patches, pixels of the square."""
        side = self.size // self.patch
        return np.stack([targets % side, targets // side], axis=1) * self.patch + self.patch // 2

    def _propose(self, square: np.ndarray, targets: np.ndarray, generator: np.random.Generator) -> Proposals | None:
        """Return the masks that SAM finds for subsets of the matched points, after NMS; None if there is none."""
        import torch
        from torchvision.ops import nms

        recipe = self.recipe
        features = self.segmenter.encode(square)
        points = self._points(targets)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)]) if recipe.box else None
        if recipe.prompts == "centres":
            points = matching.centres(points, generator)
        limits = (recipe.min_iou, recipe.min_stability)
        parts: list[Proposals] = []
        for subset in matching.subsets(len(points), recipe, generator):
            parts += self._masks(features, points[subset], box, multimask=recipe.multimask, limits=limits)
        if recipe.dense:
            count, *least = _DENSE
            line = (np.arange(count) + 0.5) / count * self.size
            grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 1, 2)
            parts += self._masks(features, grid, None, multimask=False, limits=(least[0], least[1]))
        if not parts:
            return None
        proposals = Proposals(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "iou", "boxes", "grids"))
        )
        return proposals[nms(proposals.boxes, proposals.iou, recipe.nms)] if recipe.nms < 1 else proposals

    def _masks(
        self, features: Any, points: np.ndarray, box: np.ndarray | None, *, multimask: bool, limits: tuple[float, float]
    ) -> Iterator[Proposals]:
        """Yield the masks of (P, K, 2) positive points that reach ``limits``, the predicted IoU and the stability."""
        import torch
        import torch.nn.functional as F

        placement = self.segmenter.place((self.size, self.size))
        frame = (
            None if box is None else placement.boxes(torch.tensor(box[None], dtype=torch.float32, device=self.device))
        )
        for start in range(0, len(points), self.batch):
            batch = torch.tensor(points[start : start + self.batch], dtype=torch.float32, device=self.device)
            decoded = self.segmenter.decode(
                features,
                points=(placement.points(batch), torch.ones(batch.shape[:2], dtype=torch.int64, device=self.device)),
                boxes=None if frame is None else frame.expand(len(batch), -1),
                multimask=multimask,
            )
            low, iou = decoded.logits.flatten(0, 1)[:, None], decoded.iou.flatten()
            logits = self._restore(low)[:, 0]
            masks = logits > 0
            good = torch.ones_like(iou, dtype=torch.bool) if self.empty_as_whole else masks.any(dim=(1, 2))
            if limits[0] > 0:
                good &= iou > limits[0]
            if limits[1] > 0:
                # 0 / 0 of a mask with nothing in it is NaN, and no stability reaches that.
                good &= (logits > 1).sum(dim=(1, 2)) / (logits > -1).sum(dim=(1, 2)) >= limits[1]
            if bool(good.any()):
                grids = F.max_pool2d(masks[good].float()[:, None], self.patch)[:, 0] > 0
                yield Proposals(low[good].cpu(), iou[good].cpu(), _boxes(masks[good]).cpu(), grids.flatten(1).cpu())

    def _restore(self, low: Any) -> Any:
        """Return (K, 1, h, w) low-resolution logits as (K, 1, S, S)."""
        return self.segmenter.place((self.size, self.size)).restore(low)


def _boxes(masks: Any) -> Any:
    """Return the tight boxes (x0, y0, x1, y1) of (K, H, W) bool masks, (K, 4) float; zeros where a mask is empty."""
    import torch

    sides = []
    for across in (1, 2):  # columns, rows
        line = masks.any(dim=across)
        first = line.int().argmax(dim=1)
        last = (line.shape[1] - 1 - line.flip(1).int().argmax(dim=1)) * line.any(dim=1)
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], dim=1).float()


def _open(path: Path, name: str) -> Any:
    """Return a DINOv2 filled from a file, whose top map is taken before the final norm.

    Raises:
        WeightsError: Of another model.
        UsageError: The backbone that is named is no DINOv2.
    """
    import torch

    from baselines.prototype import backbone_inside
    from icvos.foundation.backbones import create_backbone, load_backbone
    from icvos.foundation.dinov2 import DINOv2, dinov2_sizes
    from icvos.foundation.weights import load_state

    state = load_state(path)
    inside = backbone_inside(path)
    options = {}
    if name == "auto":
        name, options = inside.get("backbone", ""), inside.get("backbone_options", {})
        if not name and (options := dinov2_sizes(state)):
            name = "dinov2_vitb14"
        if not name:
            raise WeightsError(
                "this is no DINOv2 that is known",
                where=path,
                expected="a DINOv2, as ViT-L/14",
                fix="fetch it: icvos weights fetch dinov2-vitl14",
            )
    if name.startswith("dinov2") and "registers" not in options and "register_tokens" in state:
        options = {**options, "registers": state["register_tokens"].shape[1]}
    backbone = create_backbone(name, options)
    if not isinstance(backbone, DINOv2):
        raise UsageError(f"matcher takes no backbone '{name}'", expected="a DINOv2")
    load_backbone(backbone, state, where=str(path))
    backbone.norm = torch.nn.Identity()  # type: ignore[assignment]
    return backbone.float()
