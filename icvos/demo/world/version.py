"""Names of what the synthetic world draws; tests/ holds golden hashes of its pixels and tables beside them.

Whoever changes what is drawn or written gives both a new name, on purpose: a demo's folder and its benchmarks' versions
follow from the first, and the shipped weights were trained on the second.
"""

from __future__ import annotations

__all__ = ["DRAWING", "GENERATOR_VERSION"]

#: Of the raw data: names the demo's folders and is a part of its benchmarks' versions.
GENERATOR_VERSION = "1-701b1c1689"

#: Of shapes, paint and scenes, which trained models have seen.
DRAWING = "ecf1351f8c1b5821f689e456f22071701aeac6ee5d5b6d7743482afa4f478f42"
