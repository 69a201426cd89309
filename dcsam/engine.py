"""DC-SAM at work: the prompt generator and a SAM together, every image encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcsam.features import QueryState, SamFeatures, SupportState
from dcsam.model import DCSAM, Output
from icvos.data.lineage import Lineage
from icvos.errors import UsageError
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.frame_tracker import Prompt
from icvos.foundation.holes import fill_holes
from icvos.foundation.pixels import to_float
from icvos.foundation.sam2 import Sam2
from icvos.foundation.segmenter import ImageFeatures, PromptableSegmenter
from icvos.foundation.tracker import NO_OBJECT, Tracker, TrackerOptions
from icvos.models.redetect import Answer, Redetector, RedetectRules
from icvos.types import Support, Video

__all__ = ["Encoded", "Engine", "Fitted"]


@dataclass(frozen=True)
class Encoded:
    """B images, each seen once by the backbone and once by SAM's encoder, and SAM's code of places if needed."""

    backbone: BackboneFeatures
    sam: ImageFeatures
    position: Tensor | None

    def __getitem__(self, index: Tensor) -> Encoded:
        return Encoded(self.backbone.map(lambda maps: maps[index]), self.sam[index], self.position)

    @property
    def fused(self) -> SamFeatures:
        """SAM's features as the prompt generator takes them."""
        return SamFeatures(self.sam.embedding, self.sam.high_res, self.position)


class Fitted:
    """Supports of B episodes, encoded when they are first used.

    Attributes:
        episodes: The sets of supports, of the same number each.
        state: What the prompt generator made of them, once it has.
    """

    def __init__(self, episodes: Sequence[Sequence[Support]]) -> None:
        self.episodes = episodes
        self.state: SupportState | None = None


class Engine:
    """A prompt generator and the SAM it prompts.

    Args:
        model: The prompt generator.
        segmenter: SAM 1 or SAM 2, as the model's configuration says; on the same device.
        tracking: The SAM 2 that follows what was found, where it is another: it has the segmenter's encoder, and is
            prompted by the masks that the segmenter finds.
        precision: ``fp32``, or ``bf16`` for autocast.
        ahead: Video frames encoded together.

    Attributes:
        alone: Images are encoded one by one, for a model whose norms go by the batch (training mode).
        fill_holes: On video, holes of at most so many pixels of SAM 2's logits are filled, in the coarse mask too; see
            ``TrackerOptions``.
        lineage: What both were trained on.

    Raises:
        UsageError: The SAM is of the other version, or of another width.
    """

    def __init__(
        self,
        model: DCSAM,
        segmenter: PromptableSegmenter,
        *,
        tracking: PromptableSegmenter | None = None,
        precision: str = "fp32",
        ahead: int = 1,
    ) -> None:
        version = 2 if isinstance(segmenter, Sam2) else 1
        if version != model.config.sam:
            raise UsageError(
                f"this DC-SAM prompts SAM {model.config.sam}, and a SAM {version} was given",
                fix=f"give --weights sam{'2' if model.config.sam == 2 else ''}=PATH of the right version",
            )
        if segmenter.embed_dim != model.config.width:
            raise UsageError(f"this DC-SAM's prompts have {model.config.width} channels, SAM's {segmenter.embed_dim}")
        self.model, self.segmenter, self.precision, self.ahead = model, segmenter, precision, ahead
        self.tracking = tracking or segmenter
        self.size = model.config.image_size
        self.alone = False
        self.fill_holes = 0
        self.lineage = Lineage()

    @property
    def device(self) -> torch.device:
        """Where both are."""
        return self.segmenter.device

    def with_precision(self, precision: str) -> Engine:
        """Return this engine, or one that shares its models where its precision is another."""
        if precision == self.precision:
            return self
        other = copy(self)
        other.precision = precision
        return other

    def cast_weights(self) -> None:
        """With autocast: keep the weights that it casts at every use in bfloat16. The same values, fewer kernels."""
        if self.precision != "bf16":
            return
        for part in (self.segmenter, self.tracking, self.model):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    module.to(torch.bfloat16)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which everything is computed."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def compile(self) -> None:
        """Compile what has the same shapes at every frame: a minute, as alike blocks share their code.

        The blocks of SAM's encoder, the mask decoder's transformer and, of SAM 2, the memory encoder. The attention to
        the memories stays as it is, as their number grows; it also turns complex numbers, which the compiler leaves.
        """
        dynamo = torch._dynamo.config
        # One code object serves all blocks; each width, window and batch size counts as a recompilation of it.
        limit = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"  # before torch 2.6
        setattr(dynamo, limit, max(getattr(dynamo, limit), 64))
        for part in {*self.segmenter.encoder_blocks(), *self.segmenter.per_frame(), *self.tracking.per_frame()}:
            part.compile(dynamic=False)

    # ------------------------------------------------------------------------------------------------------ images

    def pixels(self, image: np.ndarray) -> Tensor:
        """Return (H, W, 3) uint8 RGB as (1, S, S, 3) uint8 on the CPU, squashed by Pillow's bilinear."""
        if image.shape[:2] != (self.size, self.size):
            from PIL import Image

            image = np.array(Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BILINEAR))
        return torch.from_numpy(np.array(image))[None]

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return (B, S, S, 3) uint8 as (B, 3, S, S) float on the device, normalised."""
        return to_float(pixels.to(self.device, non_blocking=True))

    def to_sam(self, pixels: Tensor) -> Tensor:
        """Return (B, 3, S, S) at SAM's size: bilinear with aligned corners, as the public code enlarges."""
        side = self.segmenter.image_size
        if pixels.shape[-1] == side:
            return pixels
        return F.interpolate(pixels, (side, side), mode="bilinear", align_corners=True)

    def encode(self, pixels: Tensor, *, top: bool = False) -> Encoded:
        """Encode (B, S, S, 3) uint8 images by both encoders."""
        values = self.normalised(pixels)
        batch = 1 if self.alone else None
        with torch.no_grad(), self.autocast():
            sam = self.segmenter.encode(self.to_sam(values), batch=batch)
            blocks = values.split(batch or len(values))
            features = BackboneFeatures.join([self.model.extract(block, top=top) for block in blocks])
            return Encoded(features, sam, self._places())

    def _places(self) -> Tensor | None:
        """Return SAM's code of places, for the models whose prompts carry it."""
        return self.segmenter.dense_pe() if self.model.config.place_codes else None

    def supports(self, episodes: Sequence[Sequence[Support]]) -> SupportState:
        """Return the state of E episodes with the same number of supports; an image used twice is encoded once."""
        return self._together(episodes, None)[0]

    def _together(
        self, episodes: Sequence[Sequence[Support]], image: np.ndarray | None
    ) -> tuple[SupportState, Encoded | None]:
        """Encode supports, and a query image with them, as one batch."""
        shots = len(episodes[0])
        places: dict[int, int] = {}
        unique: list[Support] = []
        for support in (support for episode in episodes for support in episode):
            if id(support.image) not in places:
                places[id(support.image)] = len(unique)
                unique.append(support)
        images = [support.image for support in unique] + ([] if image is None else [image])
        encoded = self.encode(torch.cat([self.pixels(each) for each in images]))
        flat = [support for episode in episodes for support in episode]
        order = torch.tensor([places[id(support.image)] for support in flat], device=self.device)
        masks = torch.cat([self._mask(support.mask) for support in flat])
        chosen = encoded[order]
        state = self.model.encode_supports(chosen.backbone, masks, chosen.fused, shots=shots)
        return state, None if image is None else encoded[torch.tensor([len(unique)], device=self.device)]

    def _mask(self, mask: np.ndarray) -> Tensor:
        """Return (1, S, S) float {0, 1}: nearest pixel, as the public code resizes masks."""
        values = torch.tensor(mask, device=self.device)[None, None].float()
        return F.interpolate(values, (self.size, self.size), mode="nearest")[0]

    def query(self, encoded: Encoded) -> QueryState:
        """Return the state of one query image."""
        return self.model.encode_query(encoded.backbone, encoded.fused)

    # ----------------------------------------------------------------------------------------------------- prompts

    def prompts(self, support: SupportState, query: QueryState, sam: ImageFeatures, *, video: bool) -> Output:
        """Run both stages: B sets of supports on one query image, its SAM features given.

        The reference variant mixes masks across a batch (Q1), so it is asked one set at a time.
        """
        decode = self._decoder(sam, video=video)
        points = self.segmenter.point_embeddings
        if not self.model.config.shared_head_masks or len(support) == 1:
            return self.model(support, query, decode=decode, point_embeddings=points)
        outputs = [
            self.model(_one(support, index), query, decode=decode, point_embeddings=points)
            for index in range(len(support))
        ]
        return _joined(outputs)

    def _decoder(self, sam: ImageFeatures, *, video: bool) -> Callable[[Tensor], Tensor]:
        def decode(tokens: Tensor) -> Tensor:
            logits = self.segmenter.decode(sam, embeddings=tokens.to(sam.embedding.dtype)).logits.float()
            if video:
                logits = fill_holes(logits, self.fill_holes)
            return F.interpolate(logits, (self.size, self.size), mode="bilinear", align_corners=not video)

        return decode

    def tokens(self, output: Output) -> Tensor:
        """Return the final prompts as SAM's sparse tokens, (B, 2N, C)."""
        return self.model.tokens(output.prompts, self.segmenter.point_embeddings)

    def segment_image(self, fitted: Fitted, image: np.ndarray) -> tuple[Tensor, Output, Encoded]:
        """Return (B, 1, H, W) logits at the image's size for B sets of supports, and what led to them.

        The first image that supports are used on is encoded with them, as one batch.
        """
        if fitted.state is None:
            fitted.state, encoded = self._together(fitted.episodes, image)
        else:
            encoded = self.encode(self.pixels(image), top=True)
        assert encoded is not None
        output = self.prompts(fitted.state, self.query(encoded), encoded.sam, video=False)
        logits = self._decoder(encoded.sam, video=False)(self.tokens(output))
        size = (image.shape[0], image.shape[1])
        if tuple(logits.shape[-2:]) != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits, output, encoded

    # ------------------------------------------------------------------------------------------------------- video

    def track(self, support: SupportState, video: Video) -> Iterator[Tensor]:
        """Yield (E, H, W) bool masks a frame for E sets of supports: prompts on frame 0, then the tracker."""
        if not isinstance(self.tracking, Sam2):
            raise UsageError("this DC-SAM prompts SAM 1, which does not track", fix="run it with a tracker: dcsam+sam2")
        tracker = Tracker(self.tracking, TrackerOptions.dc_sam(fill_holes=self.fill_holes))
        bank = tracker.start(num_frames=len(video))
        for index, (pixels, features) in enumerate(self._frames(video)):
            with torch.no_grad(), self.autocast():
                prompt = None
                if index == 0:
                    first = self._encoded(pixels, features)
                    prompt = self._find(support, first, video.size).prompt
                masks = self._enlarged(tracker.step(bank, features, prompt=prompt).logits, video.size)
            yield masks

    def redetect(self, support: SupportState, video: Video, rules: RedetectRules) -> Iterator[list[Tensor]]:
        """Yield an (H, W) bool mask a frame for each of E sets of supports, prompted again by ``rules``.

        A frame is encoded once by SAM, and by the backbone only where the model looks at it.
        """
        if not isinstance(self.tracking, Sam2):
            raise UsageError("this DC-SAM prompts SAM 1, which does not track", fix="use --model dcsam+sam2@redetect")
        size = video.size
        # Of prompts, as many memories are kept as SAM 2's window is long.
        tracker = Tracker(self.tracking, TrackerOptions.dc_sam(fill_holes=self.fill_holes, max_prompted=7))
        sets = [_one(support, index) for index in range(len(support))]
        tracks = [Redetector(tracker, lambda frame: self._enlarged(frame.logits, size), rules) for _ in sets]
        nothing = torch.zeros(size, dtype=torch.bool, device=self.device)
        for index, (pixels, features) in enumerate(self._frames(video)):
            with torch.no_grad(), self.autocast():
                encoded = cache(partial(self._encoded, pixels, features))
                masks = [
                    track.step(features, partial(self._answer, each, encoded, size), left=len(video) - index)
                    for each, track in zip(sets, tracks)
                ]
            yield [nothing if mask is None else mask[0] for mask in masks]

    def _encoded(self, pixels: Tensor, features: ImageFeatures) -> Encoded:
        if self.tracking is not self.segmenter:
            features = self.segmenter.encode(self.to_sam(pixels))
        return Encoded(self.model.extract(pixels, top=True), features, self._places())

    def _find(self, support: SupportState, encoded: Encoded, size: tuple[int, int]) -> Answer:
        """Return what E sets of supports find on a frame: by the tokens, or the masks where another SAM 2 tracks.

        It is sure by the mean probability of what it finds.
        """
        tokens = self.tokens(self.prompts(support, self.query(encoded), encoded.sam, video=True))
        decoded = self.segmenter.decode(encoded.sam, embeddings=tokens.to(encoded.sam.embedding.dtype))
        logits = fill_holes(decoded.logits.float(), self.fill_holes)
        if decoded.object_score is not None:
            logits = torch.where(decoded.object_score[..., None, None] > 0, logits, NO_OBJECT)
        masks = self._enlarged(logits, size)
        prompt = Prompt(embeddings=tokens) if self.tracking is self.segmenter else Prompt(masks=masks.float())
        inside = logits > 0
        return Answer(prompt, masks, float((logits.sigmoid() * inside).sum() / inside.sum().clamp(min=1)))

    def _answer(self, support: SupportState, encoded: Callable[[], Encoded], size: tuple[int, int]) -> Answer | None:
        """Return what one set of supports finds on a frame, or None."""
        answer = self._find(support, encoded(), size)
        return answer if bool(answer.mask.any()) else None

    def _enlarged(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Return (E, H, W) bool: logits to the model's size, as the public code has them, then to the frame's."""
        logits = F.interpolate(logits.float(), (self.size, self.size), mode="bilinear", align_corners=False)
        if tuple(logits.shape[-2:]) != tuple(size):
            logits = F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)
        return logits[:, 0] > 0

    def _frames(self, video: Video) -> Iterator[tuple[Tensor, ImageFeatures]]:
        """Yield (pixels, SAM features) of each frame; frames are prepared on a thread while others are computed."""
        cuda = self.device.type == "cuda"

        def prepare(frames: list[np.ndarray]) -> Tensor:
            pixels = torch.cat([self.pixels(frame) for frame in frames])
            return pixels.pin_memory() if cuda else pixels

        stream = iter(video)
        with ThreadPoolExecutor(1) as pool:
            # The frames themselves are read here: the video may belong to this thread.
            waiting = pool.submit(prepare, block) if (block := list(islice(stream, self.ahead))) else None
            while waiting is not None:
                pixels = self.normalised(waiting.result())
                block = list(islice(stream, self.ahead))
                waiting = pool.submit(prepare, block) if block else None
                with torch.no_grad(), self.autocast():
                    features = self.tracking.encode(self.to_sam(pixels))
                for index in range(len(pixels)):
                    yield pixels[index : index + 1], features[index]


def _one(support: SupportState, index: int) -> SupportState:
    shots = support.shots
    pick = slice(index, index + 1)
    return SupportState(
        support.masks[pick],
        tuple(x[pick] for x in support.prototypes),
        tuple(x[pick] for x in support.merged),
        tuple(x[index * shots : (index + 1) * shots] for x in support.tops),
    )


def _joined(outputs: Sequence[Output]) -> Output:
    from dcsam.features import Prompts

    def cat(parts: list[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.cat(known) if known else None

    def prompts(several: list[Prompts]) -> Prompts:
        positive = torch.cat([p.positive for p in several])
        return Prompts(
            positive,
            cat([p.negative for p in several]),
            cat([p.attention for p in several]),
            cat([p.negative_attention for p in several]),
        )

    return Output(
        prompts([o.prompts for o in outputs]),
        prompts([o.first for o in outputs]),
        cat([o.coarse_logits for o in outputs]),
    )
