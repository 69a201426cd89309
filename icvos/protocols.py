"""Protocols: which frames count, at what size, and how what is scored becomes one number."""

from __future__ import annotations

from dataclasses import dataclass

from icvos.errors import UsageError, did_you_mean

__all__ = ["ORACLES", "PROTOCOLS", "Protocol", "check_oracle", "get_protocol"]


@dataclass(frozen=True)
class Protocol:
    """A way to evaluate.

    Attributes:
        name: As in ``--protocol``.
        kind: ``video`` (episodes of a video benchmark), ``sequence`` (objects of label maps) or ``image`` (few-shot).
        size: (H, W) to which images and masks are resized before the model sees them and before scoring, or None.
        max_frames: Only the first so many frames, or None.
        skip_ends: Whether the first and last frame are dropped.
        undrawn_as_zero: Whether ``mIoU`` counts a category of the fold that no episode drew as 0, or leaves it out
            (few-shot).
        verbatim: Whether episodes are another code's own, kept as it draws them: a support may stand twice in one, and
            a mask may be empty (few-shot).
        text: One line for tables.
    """

    name: str
    kind: str
    size: tuple[int, int] | None = None
    max_frames: int | None = None
    skip_ends: bool = False
    undrawn_as_zero: bool = False
    verbatim: bool = False
    text: str = ""

    def frames(self, count: int) -> range:
        """Return the frames that are scored of a video with ``count``: they depend on the ground truth alone."""
        length = count if self.max_frames is None else min(count, self.max_frames)
        return range(1, max(length - 1, 1)) if self.skip_ends else range(length)


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("native", "video", text="full resolution, every frame from frame 0"),
        Protocol("paper", "video", size=(512, 512), max_frames=512, text="512x512, first 512 frames, as published"),
        Protocol(
            "davis-2017", "sequence", skip_ends=True, text="official semi-supervised: first and last frame dropped"
        ),
        Protocol(
            "fss-paper",
            "image",
            size=(512, 512),
            undrawn_as_zero=True,
            text="few-shot at 512x512, 1,000 episodes a fold, undrawn categories as 0",
        ),
        Protocol("fss-native", "image", text="few-shot at full size, every query and category once, over drawn ones"),
        Protocol(
            "fss-matcher",
            "image",
            size=(518, 518),
            undrawn_as_zero=True,
            verbatim=True,
            text="few-shot at 518x518, the episodes that Matcher's code draws, undrawn categories as 0",
        ),
    )
}


def get_protocol(name: str, kind: str | None = None) -> Protocol:
    """Return a protocol by name.

    Args:
        name: A key of ``PROTOCOLS``.
        kind: The kind it must be of, or None.

    Raises:
        UsageError: Unknown, or of another kind.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol '{name}'", fix=did_you_mean(name, PROTOCOLS))
    protocol = PROTOCOLS[name]
    if kind is not None and protocol.kind != kind:
        fits = ", ".join(p.name for p in PROTOCOLS.values() if p.kind == kind)
        raise UsageError(f"protocol '{name}' does not fit this benchmark", expected=fits)
    return protocol


ORACLES = ("first-frame",)


def check_oracle(name: str | None, shots: int) -> None:
    """Check what was asked for.

    Raises:
        UsageError: No such oracle, or several shots with it.
    """
    if name is None:
        return
    if name not in ORACLES:
        raise UsageError(f"no oracle '{name}'", fix=did_you_mean(name, ORACLES))
    if shots != 1:
        raise UsageError(f"oracle '{name}' goes without --shots {shots}: frame 0 is the only support")
