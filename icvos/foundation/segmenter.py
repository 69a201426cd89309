"""One promptable segmenter over SAM 1 and SAM 2: encode an image once, decode masks from any prompt, batched.

``encode`` gives ``ImageFeatures`` of B images; ``decode`` takes P prompts against them. With B = 1 all prompts look at
the one image; with B = P prompt i looks at image i; ``index`` says otherwise. Neither sets a grad mode.
Coordinates are (x, y) in pixels of the model's square input; ``Placement`` maps those of the original image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icvos.errors import ModelError, UsageError
from icvos.foundation.cpu.chunks import at_a_time
from icvos.foundation.pixels import MEAN, STD

__all__ = [
    "Decoded",
    "Guidance",
    "ImageFeatures",
    "Placement",
    "PromptableSegmenter",
    "Resample",
    "check_finite",
    "needs_gradient",
    "resize_logits",
]

Resample = Literal["bilinear", "pil-bilinear", "pil-bicubic"]


@dataclass(frozen=True)
class ImageFeatures:
    """What an image encoder made of B images.

    Attributes:
        embedding: (B, C, h, w) float, what the mask decoder attends to (SAM 2: with the no-memory embedding added, as
            its image predictor does).
        high_res: SAM 2 only: (B, C/8, 4h, 4w) and (B, C/4, 2h, 2w), already projected; else empty.
        raw: SAM 2 only: (B, C, h, w) without the no-memory embedding, what the tracker starts from.
    """

    embedding: Tensor
    high_res: tuple[Tensor, ...] = ()
    raw: Tensor | None = None

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> ImageFeatures:
        """Return the features of some images; an int keeps the batch dimension."""
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        raw = None if self.raw is None else self.raw[index]
        return ImageFeatures(self.embedding[index], tuple(level[index] for level in self.high_res), raw)

    def detach(self) -> ImageFeatures:
        """Return the features without their graph."""
        raw = None if self.raw is None else self.raw.detach()
        return ImageFeatures(self.embedding.detach(), tuple(level.detach() for level in self.high_res), raw)

    def to(self, device: str | torch.device) -> ImageFeatures:
        """Return the features on ``device``."""
        raw = None if self.raw is None else self.raw.to(device)
        return ImageFeatures(self.embedding.to(device), tuple(level.to(device) for level in self.high_res), raw)

    @staticmethod
    def cat(parts: Sequence[ImageFeatures]) -> ImageFeatures:
        """Return the features of all images of ``parts`` in one batch."""
        if len(parts) == 1:
            return parts[0]
        raw = None if parts[0].raw is None else torch.cat([p.raw for p in parts if p.raw is not None])
        levels = zip(*(p.high_res for p in parts), strict=True)
        return ImageFeatures(torch.cat([p.embedding for p in parts]), tuple(torch.cat(v) for v in levels), raw)


def check_finite(*outputs: Tensor | None) -> None:
    """Make sure that what a mask decoder gave is finite: compared with 0, NaN would be an empty mask.

    Training has a guard of its own, and a graph no time to look: with gradients nothing is checked.

    Raises:
        ModelError: A value is not finite.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return
    if not all(bool(output.isfinite().all()) for output in outputs if output is not None):
        raise ModelError("the mask decoder gave values that are no numbers", fix="check the weights, or take fp32")


def needs_gradient(*modules: nn.Module, images: Tensor | None = None) -> bool:
    """Return whether gradients are wanted through modules: what is frozen is worked out without them, and faster."""
    if not torch.is_grad_enabled():
        return False
    wanted = images is not None and images.requires_grad
    return wanted or any(parameter.requires_grad for module in modules for parameter in module.parameters())


@dataclass(frozen=True)
class Decoded:
    """Masks decoded from P prompts: M = 3 with multimask, else 1.

    Attributes:
        logits: (P, M, 4h, 4w) float, positive inside; not clamped.
        iou: (P, M) float, the predicted IoU of each.
        tokens: SAM 2 only: (P, M or 1, C) output tokens.
        object_score: SAM 2 only: (P, 1) logit that the object is there.

    Raises:
        ModelError: Without gradients: a logit, a predicted IoU or an object score is not finite.
    """

    logits: Tensor
    iou: Tensor
    tokens: Tensor | None = None
    object_score: Tensor | None = None

    def __post_init__(self) -> None:
        check_finite(self.logits, self.iou, self.object_score)

    def best(self) -> Decoded:
        """Return the mask with the highest predicted IoU of each prompt: M becomes 1."""
        rows = torch.arange(len(self.iou), device=self.iou.device)
        best = self.iou.argmax(dim=1)
        tokens = self.tokens
        if tokens is not None and tokens.shape[1] > 1:
            tokens = tokens[rows, best].unsqueeze(1)
        return replace(self, logits=self.logits[rows, best].unsqueeze(1), iou=self.iou[rows, best, None], tokens=tokens)


@dataclass(frozen=True)
class Guidance:
    """Steering of the mask decoder by a similarity map and a target vector, as PerSAM does it.

    Attributes:
        attention: (1 or P, 1, 1, h*w) float in 0..1, added to the token-to-image attention of the blocks (not of the
            last layer), which goes through a second softmax; None leaves attention alone.
        target: (1 or P, 1, C) float, added to the tokens before each block and to the last query; None adds nothing.
        target_in_prompt: The published code adds the target in place, so that it also stays in the prompt's own
            embedding, which serves as position code of every block. True repeats that.
    """

    attention: Tensor | None = None
    target: Tensor | None = None
    target_in_prompt: bool = False


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the model's square input.

    Attributes:
        original: (H, W) of the image.
        content: (h, w) that it takes up, from the top left corner; the rest is padding.
        size: Side of the square.
        through_square: Masks come back by way of the square (SAM 1), not straight from low resolution (SAM 2).
    """

    original: tuple[int, int]
    content: tuple[int, int]
    size: int
    through_square: bool = False

    def points(self, points: Tensor) -> Tensor:
        """Map (..., 2) points (x, y) of the image to the model's input."""
        scale = points.new_tensor([self.content[1] / self.original[1], self.content[0] / self.original[0]])
        return points * scale

    def boxes(self, boxes: Tensor) -> Tensor:
        """Map (..., 4) boxes (x0, y0, x1, y1) of the image to the model's input."""
        return self.points(boxes.reshape(*boxes.shape[:-1], 2, 2)).reshape(boxes.shape)

    def restore(self, logits: Tensor) -> Tensor:
        """Map (P, M, h', w') low-resolution logits to (P, M, H, W): for SAM 1 up to the square, padding cut off."""
        if not self.through_square:
            return resize_logits(logits, self.original)
        square = resize_logits(logits, (self.size, self.size))
        return resize_logits(square[..., : self.content[0], : self.content[1]], self.original)


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (P, M, h, w) logits to (P, M, H, W), bilinear, corners not aligned, as both packages do."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


class PromptableSegmenter(nn.Module, ABC):
    """A SAM. ``model`` is the unmodified module of its package; everything else is thin.

    Attributes:
        model: The package's module.
        name: "vit_b", "sam2.1_hiera_tiny", …
        image_size: Side of the square input in pixels.
        embed_dim: C, the width of prompts and image embedding.
        grid: h = w, side of the image embedding.
        trained_on: What weights of this name have seen, as ``ModelInfo.training_data``; None where nobody says.
    """

    model: nn.Module
    name: str
    image_size: int
    embed_dim: int
    grid: int
    trained_on: tuple[str, ...] | None = None
    #: How the package's own predictor brings an image to the square: padded (SAM 1) or squashed (SAM 2).
    pads: bool
    resample: Resample
    #: On the CPU the encoder, and SAM 2's memory, go our faster way; False leaves both to the package's own code.
    in_pieces = True
    #: Value of a white pixel as the package normalises it, so that even the rounding is the same.
    white: float

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters."""
        return next(self.parameters()).dtype

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution logits and of mask prompts: four times the grid."""
        return 4 * self.grid

    def place(self, size: tuple[int, int]) -> Placement:
        """Return where an image of ``size`` (H, W) lies in the input."""
        if not self.pads:
            return Placement(size, (self.image_size, self.image_size), self.image_size)
        scale = self.image_size / max(size)
        height, width = (max(1, int(side * scale + 0.5)) for side in size)
        return Placement(size, (height, width), self.image_size, through_square=True)

    def preprocess(self, image: np.ndarray, *, resample: Resample | None = None) -> Tensor:
        """Return (H, W, 3) uint8 RGB as (1, 3, S, S) float on the model's device: resized, normalised, padded.

        Args:
            image: The image.
            resample: Another filter than the package's image predictor uses.

        Raises:
            UsageError: It is not (H, W, 3) uint8.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UsageError(
                f"a {image.dtype} array of shape {image.shape} is no image", expected="(H, W, 3) uint8 RGB, 0..255"
            )
        height, width = self.place((image.shape[0], image.shape[1])).content
        resample = resample or self.resample
        if resample == "bilinear":
            pixels = torch.tensor(image, device=self.device).permute(2, 0, 1)[None].float() / (255 / self.white)
            if pixels.shape[-2:] != (height, width):
                pixels = F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=True)
        else:
            from PIL import Image

            method = Image.Resampling.BICUBIC if resample == "pil-bicubic" else Image.Resampling.BILINEAR
            resized = np.array(Image.fromarray(image).resize((width, height), method))
            pixels = torch.from_numpy(resized).to(self.device).permute(2, 0, 1)[None].float() / (255 / self.white)
        mean, deviation = (pixels.new_tensor([v * self.white for v in values])[:, None, None] for values in (MEAN, STD))
        pixels = (pixels - mean) / deviation
        return F.pad(pixels, (0, self.image_size - width, 0, self.image_size - height))

    def encode(self, images: Tensor | np.ndarray | Sequence[np.ndarray], *, batch: int | None = None) -> ImageFeatures:
        """Encode images, each once.

        Args:
            images: (B, 3, S, S) float, normalised, at the model's size; or one (H, W, 3) uint8 RGB array, or several.
            batch: At most so many at a time; by default all at once, but large images on the CPU one by one.

        Raises:
            UsageError: A tensor of another shape, or an array that is no image.
        """
        if isinstance(images, np.ndarray):
            images = [images]
        if not isinstance(images, Tensor):
            images = torch.cat([self.preprocess(image) for image in images])
        wanted = (3, self.image_size, self.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted or not images.is_floating_point():
            raise UsageError(
                f"{self.name} cannot encode a {images.dtype} tensor of shape {tuple(images.shape)}",
                expected=f"float (B, {', '.join(map(str, wanted))}), normalised; or uint8 arrays (H, W, 3)",
            )
        parts = images.split(batch or at_a_time(images))
        return ImageFeatures.cat([self.encode_batch(part) for part in parts])

    def decode(
        self,
        features: ImageFeatures,
        *,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        embeddings: Tensor | None = None,
        dense: Tensor | None = None,
        multimask: bool = False,
        index: Tensor | None = None,
        guidance: Guidance | None = None,
    ) -> Decoded:
        """Decode masks from P prompts.

        Args:
            features: Of one image, or of as many as there are prompts.
            points: ((P, K, 2) float (x, y) in input pixels, (P, K) labels: 1 inside, 0 outside, -1 none).
            boxes: (P, 4) float (x0, y0, x1, y1) in input pixels.
            masks: (P, 1, 4h, 4w) float logits of an earlier mask.
            embeddings: (P, N, C) ready-made sparse tokens instead of points and boxes; nothing is added to them.
            dense: (P or 1, C, h, w) ready-made dense prompt instead of masks; no mask by default.
            multimask: Three masks for an ambiguous prompt instead of one.
            index: (P,) long: the image that each prompt looks at.
            guidance: Steering of the decoder's attention.

        Raises:
            UsageError: No prompt; tokens beside points or boxes; or numbers that do not fit.
        """
        sparse, dense_prompt = self.prompt(points=points, boxes=boxes, masks=masks, embeddings=embeddings, dense=dense)
        count = sparse.shape[0]
        if index is not None:
            features = features[index]
        if len(features) not in (1, count):
            raise UsageError(
                f"{count} prompts cannot be matched with {len(features)} images", fix="pass index=, one a prompt"
            )
        return self.decode_tokens(features, sparse, dense_prompt, multimask=multimask, guidance=guidance)

    def prompt(
        self,
        *,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        embeddings: Tensor | None = None,
        dense: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the sparse (P, N, C) and dense (P, C, h, w) prompt; the arguments are those of ``decode``."""
        if embeddings is not None and (points is not None or boxes is not None):
            raise UsageError("prompt embeddings cannot be mixed with points or boxes", fix="give one or the other")
        if dense is not None and masks is not None:
            raise UsageError("a dense prompt cannot be mixed with a mask", fix="give one or the other")
        if embeddings is None and points is None and boxes is None and masks is None:
            raise UsageError("nothing was prompted", expected="points, boxes, masks or embeddings")
        if embeddings is not None and (embeddings.ndim != 3 or embeddings.shape[2] != self.embed_dim):
            raise UsageError(
                f"prompt embeddings of shape {tuple(embeddings.shape)}", expected=f"(prompts, tokens, {self.embed_dim})"
            )
        if masks is not None and tuple(masks.shape[1:]) != (1, self.mask_size, self.mask_size):
            raise UsageError(
                f"a mask prompt of shape {tuple(masks.shape)}",
                expected=f"(prompts, 1, {self.mask_size}, {self.mask_size}) logits",
            )
        sparse, embedded = self.embed(points, boxes, masks)
        if embeddings is not None:
            sparse = embeddings
            if masks is None:
                embedded = embedded[:1].expand(len(sparse), -1, -1, -1)
        if dense is not None:
            embedded = dense.expand(len(sparse), -1, -1, -1)
        return sparse, embedded

    @property
    @abstractmethod
    def point_embeddings(self) -> tuple[Tensor, Tensor]:
        """The learned (1, C) embeddings of a negative and of a positive point."""

    @abstractmethod
    def dense_pe(self) -> Tensor:
        """Return the (1, C, h, w) position code of the grid."""

    @abstractmethod
    def encoder_blocks(self) -> list[nn.Module]:
        """Return the transformer blocks of the image encoder, which is where its time goes."""

    @abstractmethod
    def per_frame(self) -> list[nn.Module]:
        """Return what else works on the same shapes at every frame: the mask decoder's transformer, and so on."""

    @abstractmethod
    def encode_batch(self, images: Tensor) -> ImageFeatures:
        """Encode (B, 3, S, S) normalised images."""

    @abstractmethod
    def embed(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts as the package's predictor does; with none at all, one empty prompt."""

    @abstractmethod
    def decode_tokens(
        self, features: ImageFeatures, sparse: Tensor, dense: Tensor, *, multimask: bool, guidance: Guidance | None
    ) -> Decoded:
        """Decode embedded prompts; the features are of one image or of one a prompt."""
