"""What a DC-SAM model is: sizes, parts switched on, and every deviation from the public code, as one frozen record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from icvos.errors import UsageError, did_you_mean, in_words
from icvos.foundation.backbones import with_dilation
from icvos.foundation.sizes import check_sizes

__all__ = ["QUIRKS", "DCSAMConfig", "Variant"]

Variant = Literal["corrected", "reference"]

#: Option by fact number of what the public code does; ``reference`` switches on those marked True.
QUIRKS: dict[str, tuple[str, bool]] = {
    "Q1": ("shared_head_masks", True),
    "Q2": ("last_support_only", True),
    "Q3": ("first_stage_ignores_query", True),
    "Q4": ("negative_from_support", True),
    "Q5": ("single_support", True),
    "Q6": ("prompts_in_place", True),
    "Q7": ("pass_non_finite", True),
    "Q8": ("freeze_sam_fusion", True),
    "Q9": ("first_coarse_mask_only", False),
    "Q18": ("scores_in_autocast", True),
    "Q19": ("absent_logits_in_loss", True),
    "Q20": ("bfloat16_memories", True),
}
# Those of them that the files of 0.1.0 do not name: a file of the reference variant has what the variant has now.
_SINCE_0_1 = ("scores_in_autocast", "absent_logits_in_loss", "bfloat16_memories")


@dataclass(frozen=True)
class DCSAMConfig:
    """Sizes, parts and behaviour of one model; stored with its weights. ``icvos.foundation.sizes`` has the bounds.

    Attributes:
        sam: 1 or 2: whose features are fused and whose decoder takes the prompts.
        backbone: Name in ``icvos.foundation.backbones``.
        backbone_options: Sizes of a configurable backbone (``small``, ``dinov2``); the dilation of a ResNet, that of
            the public code, ``torchvision``, where it is not named.
        image_size: Side of the square image that the backbone sees, pixels.
        width: Channels of the head and of SAM's prompts.
        heads: Attention heads.
        queries: Prompt tokens of each branch.
        sam_channels: Channels of SAM's image embedding.
        sam_high_res: SAM 2: channels of the two high-resolution maps, finest first.
        dropout: Probability of dropping a projected channel in training.
        prior_scale: Factor on masks and prior before they are merged.
        negative: The negative branch (an ablation switches it off).
        cyclic: The cyclic bias of the cross-attention (off: plain cross-attention).
        sam_features: Fusion with SAM's features (off: 2 * width + 1 channels are merged).
        two_stages: The second stage on the query's coarse mask (off: the first stage's prompts are final).
        place_codes: Our own option, off in every published model: the mean of SAM's code of the places that a prompt
            attends to in the second stage is added to it, so that it says where, as SAM's points do. Without it places
            enter the keys alone; a small SAM trained for minutes makes little of that.
        shared_head_masks: Q1. Head h of sample b uses the mask of sample (b * heads + h) % B.
        last_support_only: Q2. Only the last support is attended to; the others act through prototype and prior.
        first_stage_ignores_query: Q3. The first stage attends to the support alone. This is also the paper's figure, so
            ``corrected`` keeps it; off, its keys are those of the supports and of the query with the prior as mask.
        negative_from_support: Q4. The negative branch's second stage attends to the positive *support* features.
        single_support: Q5. More than one support is refused in the second stage (the public code crashes).
        prompts_in_place: Q6. SAM 1: the second stage starts from prompts to which SAM's point embeddings were added.
        pass_non_finite: Q7. NaN features become NaN prompts; off, evaluation raises ModelError.
        freeze_sam_fusion: Q8. Where SAM 2's features are resized to a coarser grid (VGG-16), their fusion gets no
            gradient.
        first_coarse_mask_only: Q9. Training on video: the coarse mask of every sample but the first is empty.
        scores_in_autocast: Q18. Under autocast the scores of the cyclic attention are in its dtype, bfloat16, where
            ties decide which keys are dropped; off, they are always in float32.
        absent_logits_in_loss: Q19. Training on video: the logits go into the loss as they are, -1024 on a frame where
            the object is judged absent; off, they are clamped to -50 … 50 first.
        bfloat16_memories: Q20. Training on video: memories are stored in bfloat16, as in evaluation; off, in the dtype
            of the features.
    """

    sam: Literal[1, 2] = 2
    backbone: str = "resnet50"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int = 512
    width: int = 256
    heads: int = 4
    queries: int = 25
    sam_channels: int = 256
    sam_high_res: tuple[int, int] = (32, 64)
    dropout: float = 0.5
    prior_scale: float = 10.0
    negative: bool = True
    cyclic: bool = True
    sam_features: bool = True
    two_stages: bool = True
    place_codes: bool = False
    shared_head_masks: bool = False
    last_support_only: bool = False
    first_stage_ignores_query: bool = True
    negative_from_support: bool = False
    single_support: bool = False
    prompts_in_place: bool = False
    pass_non_finite: bool = False
    freeze_sam_fusion: bool = False
    first_coarse_mask_only: bool = False
    scores_in_autocast: bool = False
    absent_logits_in_loss: bool = False
    bfloat16_memories: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.sam_high_res, list):
            object.__setattr__(self, "sam_high_res", tuple(self.sam_high_res))
        check_sizes("a DC-SAM configuration", self)
        options = with_dilation(self.backbone, self.backbone_options, default="torchvision")
        object.__setattr__(self, "backbone_options", options)
        if self.width % self.heads or self.width % 4:
            raise UsageError(
                f"width {self.width} with {self.heads} heads", expected="a width that the heads and 4 divide"
            )
        if not isinstance(self.sam_high_res, tuple) or len(self.sam_high_res) != 2:
            raise UsageError(
                f"sam_high_res is {in_words(self.sam_high_res)}", expected="two channel counts, finest first"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {in_words(self.dropout)}", expected="0 or more, under 1")

    @property
    def variant(self) -> str:
        """``corrected``, ``reference``, or ``mixed`` where only some deviations are on."""
        state = {name: getattr(self, name) for name, _ in QUIRKS.values() if name != "first_coarse_mask_only"}
        if all(state.values()):
            return "reference"
        rest = {name: on for name, on in state.items() if name != "first_stage_ignores_query"}
        return "mixed" if any(rest.values()) or not self.first_stage_ignores_query else "corrected"

    def with_variant(self, variant: Variant) -> DCSAMConfig:
        """Return the same model with the behaviour of ``variant``."""
        return dataclasses.replace(self, **_behaviour(variant))

    @classmethod
    def corrected(cls, **sizes: Any) -> DCSAMConfig:
        """Return the default behaviour: what the paper describes."""
        return cls(**{**_behaviour("corrected"), **sizes})

    @classmethod
    def reference(cls, **sizes: Any) -> DCSAMConfig:
        """Return what the public code computes in eval mode, so that its checkpoints give its results."""
        return cls(**{**_behaviour("reference"), **sizes})

    def to_json(self) -> str:
        """Return the configuration as one line of JSON, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, where: str | None = None) -> DCSAMConfig:
        """Read a configuration; a ResNet whose dilation it does not name (0.1.0) has the ``DEFAULT_DILATION``.

        A deviation that it does not name is on where the file is of the reference variant, else off.

        Raises:
            UsageError: It is not JSON, or has a key that this version does not know.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the DC-SAM configuration is no JSON: {error}", where=where) from None
        if not isinstance(values, dict):
            raise UsageError("the DC-SAM configuration is no JSON object", where=where)
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise UsageError(
                    f"the DC-SAM configuration has an unknown key '{name}'", where=where, fix=did_you_mean(name, known)
                )
        backbone = values.get("backbone", cls.backbone)
        values["backbone_options"] = with_dilation(backbone, values.get("backbone_options", {}))
        config = cls(**values)
        gained: dict[str, Any] = {name: True for name in _SINCE_0_1 if name not in values}
        newer = dataclasses.replace(config, **gained)
        return newer if newer.variant == "reference" else config


def _behaviour(variant: str) -> dict[str, Any]:
    if variant not in ("corrected", "reference"):
        raise UsageError(f"no DC-SAM variant '{variant}'", fix=did_you_mean(variant, ["corrected", "reference"]))
    options: dict[str, Any] = {name: on and variant == "reference" for name, on in QUIRKS.values()}
    options["first_stage_ignores_query"] = True
    return options
