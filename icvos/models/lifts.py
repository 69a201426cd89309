"""The trackers and the ways of prompting that lift an image model to video: ``X+sam2``, ``X+sam2@every=5``, …"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from icvos.data.lineage import SAM2_DATA
from icvos.errors import UsageError, did_you_mean
from icvos.models.interface import ImageModel, Model
from icvos.models.lifting import Lift, Lifted, LiftedBest, LiftedRedetect, training_data_of
from icvos.models.redetect import RedetectRules
from icvos.types import ModelInfo, WeightInfo

__all__ = ["LIFTS", "lift", "lift_usages"]


def _open_sam2(*, weights: Mapping[str, Path], device: str, options: Mapping[str, Any]) -> Any:
    from icvos.foundation.load import load_sam
    from icvos.foundation.sam2 import Sam2
    from icvos.foundation.tracker import Tracker, TrackerOptions

    segmenter = load_sam(Sam2, weights["tracker"], device=device)
    if "policy" in options:
        from icvos.foundation.memory_policies import POLICIES
        from icvos.foundation.policy_tracker import PolicyTracker

        return PolicyTracker(segmenter, POLICIES[options["policy"]])
    return Tracker(segmenter, TrackerOptions(**options))


def _open_sam3(*, weights: dict[str, Path], device: str, options: Mapping[str, Any]) -> Any:
    from icvos.foundation.sam3 import load_sam3_tracker
    from icvos.foundation.sam3_tracker import Sam3Tracker, Sam3TrackerOptions

    config = weights.setdefault("tracker_config", weights["tracker"].with_name("config.json"))
    return Sam3Tracker(load_sam3_tracker(weights["tracker"], config).to(device), Sam3TrackerOptions(**options))


def _period(number: str, name: str) -> int:
    if not (re.fullmatch("[0-9]{1,9}", number) and int(number) > 0):
        raise ValueError(f"@{name}=N with N at least 1")
    return int(number)


# Their prompts pile up: only as many are kept as memories as the tracker's window is long.
_FLAT = {"tracker_options": {"max_prompted": 7}}


def _every(number: str) -> Mapping[str, Any]:
    return {"every": _period(number, "every"), **_FLAT, **_NO_ORACLE}


def _redetect(number: str) -> Mapping[str, Any]:
    rules = RedetectRules(every=_period(number, "redetect")) if number else RedetectRules()
    return {"rules": rules, **_FLAT, **_NO_ORACLE}


def _policy(name: str, help: str, paper: str) -> Lift:
    return Lift(f"@{name}", help, lambda _: {"tracker_options": {"policy": name}}, trackers=("sam2",), paper=paper)


# X goes on localising on later frames, which is not to be had from frame 0's mask: no oracle there.
_NO_ORACLE = {"segment_from_mask": None}

LIFTS: dict[str, Lift] = {
    row.name: row
    for row in (
        Lift(
            "+sam2",
            "SAM 2's tracker, prompted with X's mask of frame 0",
            lambda _: {"open_tracker": staticmethod(_open_sam2)},
            weights={"tracker": WeightInfo("a SAM 2 or SAM 2.1 checkpoint for the tracker (icvos weights list)")},
            training_data=SAM2_DATA,
            extra="sam",
            demo_weights={"tracker": "icvos/demo/weights/demo_sam2.safetensors"},
        ),
        Lift(
            "+sam3",
            "SAM 3's tracker, through transformers, prompted with X's mask of frame 0",
            lambda _: {"open_tracker": staticmethod(_open_sam3)},
            weights={
                "tracker": WeightInfo(
                    "the folder of facebook/sam3 (config.json, model.safetensors) on huggingface.co, which asks to be "
                    "accepted, or its model.safetensors"
                ),
                "tracker_config": WeightInfo("the config.json of these, where it is not beside them", required=False),
            },
            training_data=(*SAM2_DATA, "sa-co:train"),
            extra="hf",
        ),
        Lift("@first-found", "prompted on the first frame where X's mask is not empty", lambda _: {"wait": True}),
        Lift("@every", "prompted again with X's mask each N frames", _every, argument="N"),
        Lift(
            "@redetect",
            "prompted again where X, asked each N frames or where the tracker is unsure, finds what is not tracked",
            _redetect,
            argument="N",
            base=LiftedRedetect,
            trackers=("sam2",),
        ),
        Lift(
            "@best",
            "prompted on the frame where X is most confident, and tracked from there both ways",
            lambda _: _NO_ORACLE,
            base=LiftedBest,
            access="offline",
        ),
        _policy(
            "dam",
            "frames on which something else looked like the thing are remembered (DAM4SAM)",
            "Videnovic et al., A Distractor-Aware Memory for Visual Object Tracking with SAM2, CVPR 2025 "
            "(arXiv 2411.17576)",
        ),
        _policy(
            "samurai",
            "its box's motion has a say in the mask, and bad frames are not remembered (SAMURAI)",
            "Yang et al., SAMURAI: Adapting Segment Anything Model for Zero-Shot Visual Tracking with Motion-Aware "
            "Memory, 2024 (arXiv 2411.11922)",
        ),
        _policy(
            "sam3-memory",
            "bad frames are not remembered, as in SAM 3's tracker",
            "Carion et al., SAM 3: Segment Anything with Concepts, 2025 (arXiv 2511.16719)",
        ),
    )
}


def lift_usages(sign: str) -> list[str]:
    """Return how the rows of ``LIFTS`` are written: ``+`` for trackers, ``@`` for the others."""
    return [row.usage for row in LIFTS.values() if row.name.startswith(sign)]


def lift(cls: type[Model], mode: str = "", *, tracker: str = "sam2") -> type[Lifted]:
    """Return the class of ``cls`` lifted to video.

    Args:
        cls: An image model.
        mode: A row of ``LIFTS`` without its ``@``: ``first-found``, ``every=N``, ``best``, …; "" for frame 0's prompt.
        tracker: A row of ``LIFTS`` without its ``+``.

    Raises:
        UsageError: ``cls`` is a video model already, or an unknown tracker or mode.
    """
    info: ModelInfo = cls.info
    if f"+{tracker}" not in LIFTS:
        trackers = [usage[1:] for usage in lift_usages("+")]
        raise UsageError(f"no tracker '{tracker}' to lift '{info.name}' to video", fix=did_you_mean(tracker, trackers))
    if not issubclass(cls, ImageModel):
        raise UsageError(f"'{info.name}' is a video model and needs no tracker", fix=f"use --model {info.name}")
    rows = [(LIFTS[f"+{tracker}"], "")]
    if mode:
        name, _, argument = mode.partition("=")
        row = LIFTS.get(f"@{name}")
        if row is None or (argument and not row.argument):
            modes = [usage[1:] for usage in lift_usages("@")]
            raise UsageError(f"'@{mode}' is no way to lift", fix=did_you_mean(mode, modes))
        if row.trackers and tracker not in row.trackers:
            raise UsageError(
                f"'+{tracker}' does not go with @{name}", fix=f"it goes with +{' and +'.join(row.trackers)}"
            )
        if row.access and info.access != "online":
            raise UsageError(f"'{info.name}' cannot be lifted with @{mode}")
        rows.append((row, argument))
    body: dict[str, Any] = {}
    for row, argument in rows:
        try:
            body |= row.attributes(argument)
        except ValueError as error:
            raise UsageError(f"'@{mode}' is no way to lift", expected=str(error)) from None
        info = replace(info, access=row.access or info.access, weights={**info.weights, **row.weights})
    used = tuple(row for row, _ in rows)
    extras = [row.extra for row in used if row.extra]
    body |= {
        "info": replace(
            info,
            name=f"{info.name}+{tracker}{'@' + mode if mode else ''}",
            version=f"{info.version}.1",
            paper="; ".join(part for part in (info.paper, *(row.paper for row in used)) if part),
            training_data=training_data_of(info, used),
            extra=",".join(dict.fromkeys([*([info.extra] if info.extra else []), *extras])) or None,
        ),
        "lifted": cls,
        "rows": used,
        "__module__": cls.__module__,
        "__doc__": Lifted.__doc__,
    }
    base: Callable[..., Any] = type
    return base(f"{cls.__name__}Lifted", (used[-1].base,), body)
