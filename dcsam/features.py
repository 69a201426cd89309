"""What passes between the calls of ``dcsam.model``: frozen records of tensors, one an image or a set of supports."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Prompts", "QueryState", "SamFeatures", "SupportState"]


@dataclass(frozen=True)
class SamFeatures:
    """SAM's features of B images.

    Attributes:
        embedding: (B, C, h, w) float, what the mask decoder sees (SAM 2: with the no-memory embedding).
        high_res: SAM 2: (B, C/8, 4h, 4w) and (B, C/4, 2h, 2w), already projected; SAM 1: empty.
        position: (1, C, h, w), SAM's own code of the grid's places; needed where ``place_codes`` is on.
    """

    embedding: Tensor
    high_res: tuple[Tensor, ...] = ()
    position: Tensor | None = None


@dataclass(frozen=True)
class QueryState:
    """B query images.

    Attributes:
        projected: (B, C, h, w) backbone features.
        fused: (B, C', h, w) SAM's features, or None.
        top: (B, C4, h4, w4) for the prior mask.
        position: (1, C, h, w), SAM's own code of the places, or None.
    """

    projected: Tensor
    fused: Tensor | None
    top: Tensor
    position: Tensor | None = None

    def __len__(self) -> int:
        return len(self.projected)

    def expand(self, batch: int) -> QueryState:
        """Return the state for ``batch`` samples: one image is shared without a copy."""
        fused = None if self.fused is None else _expand(self.fused, batch)
        return QueryState(_expand(self.projected, batch), fused, _expand(self.top, batch), self.position)


@dataclass(frozen=True)
class SupportState:
    """The supports of B samples, n each. A pair holds the positive side, then the negative one where there is one.

    Attributes:
        masks: (B, n, h, w) float {0, 1}.
        prototypes: (B, n, C, 1, 1) a side; the query is merged with their mean.
        merged: (B, n, C, h, w) a side.
        tops: (B * n, C4, h4, w4) a side.
    """

    masks: Tensor
    prototypes: tuple[Tensor, ...]
    merged: tuple[Tensor, ...]
    tops: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def shots(self) -> int:
        """n."""
        return self.masks.shape[1]

    def side(self, negative: bool) -> Tensor:
        """Return the masks of one side."""
        return 1 - self.masks if negative else self.masks

    def expand(self, batch: int) -> SupportState:
        """Return the state for ``batch`` samples: one set of supports is shared, where possible without a copy."""
        if len(self) == batch:
            return self
        shots = self.shots
        return SupportState(
            _expand(self.masks, batch),
            tuple(_expand(x, batch) for x in self.prototypes),
            tuple(_expand(x, batch) for x in self.merged),
            tuple(_expand(x.unflatten(0, (-1, shots)), batch).flatten(0, 1) for x in self.tops),
        )


@dataclass(frozen=True)
class Prompts:
    """Prompt tokens of B samples, before SAM's point embeddings are added.

    Attributes:
        positive: (B, N, C) float.
        negative: (B, N, C) float, or None without the negative branch.
        attention: Mean weights of the positive branch: (B, N, n, h, w) on the supports (first stage), (B, N, h, w) on
            the query (second).
        negative_attention: The same of the negative branch.
    """

    positive: Tensor
    negative: Tensor | None
    attention: Tensor | None = None
    negative_attention: Tensor | None = None

    def sides(self) -> tuple[Tensor, ...]:
        """Return the positive tokens, and the negative ones where there are any."""
        return (self.positive,) if self.negative is None else (self.positive, self.negative)


def _expand(x: Tensor, batch: int) -> Tensor:
    return x if len(x) == batch else x.expand(batch, *x.shape[1:])
