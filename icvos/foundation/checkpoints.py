"""The published checkpoints: where they come from, their hashes, where they lie here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from icvos.errors import UsageError, WeightsError, did_you_mean
from icvos.files import file_sha256, icvos_home

__all__ = ["CHECKPOINTS", "Checkpoint", "checkpoint", "verify_file", "weights_folder"]


#: How a hash is known, by mark.
MARKS = {
    "A": "SHA-256 on the publisher's own page for a file of this name",
    "B": "SHA-256 in third-party copies or checksum lists only",
    "name": "the first 8 digits of the SHA-256, in the file's name",
    "-": "no hash known: note your own after the first download",
}


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint file.

    Attributes:
        name: What ``icvos weights`` calls it.
        file: Its file name.
        url: Direct download, or None where only a page is given.
        size: Bytes; None if not known exactly.
        sha256: 64 hex digits, the first 8 of them (mark "name"), or "".
        mark: How the hash is known, a key of ``MARKS``.
        licence: As its publisher states it.
        page: Where it is published.
    """

    name: str
    file: str
    url: str | None
    size: int | None
    sha256: str
    mark: str
    licence: str
    page: str


def _table() -> dict[str, Checkpoint]:
    sam = "https://github.com/facebookresearch/segment-anything"
    sam2 = "https://github.com/facebookresearch/sam2"
    dino = "https://github.com/facebookresearch/dinov2"
    vision = "https://github.com/pytorch/vision"
    files = "https://dl.fbaipublicfiles.com"
    old, new = f"{files}/segment_anything_2/072824", f"{files}/segment_anything_2/092824"
    apache = "Apache-2.0"
    rows: list[tuple[str, str, str | None, int | None, str, str, str, str]] = [
        (
            "sam-vit-b",
            "sam_vit_b_01ec64.pth",
            f"{files}/segment_anything",
            375042383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            "B",
            apache,
            sam,
        ),
        (
            "sam-vit-l",
            "sam_vit_l_0b3195.pth",
            f"{files}/segment_anything",
            1249524607,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            "B",
            apache,
            sam,
        ),
        (
            "sam-vit-h",
            "sam_vit_h_4b8939.pth",
            f"{files}/segment_anything",
            2564550879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            "B",
            apache,
            sam,
        ),
        (
            "sam2-hiera-tiny",
            "sam2_hiera_tiny.pt",
            old,
            155906050,
            "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
            "A",
            apache,
            sam2,
        ),
        (
            "sam2-hiera-small",
            "sam2_hiera_small.pt",
            old,
            None,
            "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
            "A",
            apache,
            sam2,
        ),
        (
            "sam2-hiera-base-plus",
            "sam2_hiera_base_plus.pt",
            old,
            323493298,
            "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
            "A",
            apache,
            sam2,
        ),
        (
            "sam2-hiera-large",
            "sam2_hiera_large.pt",
            old,
            897952466,
            "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
            "B",
            apache,
            sam2,
        ),
        (
            "sam2.1-hiera-tiny",
            "sam2.1_hiera_tiny.pt",
            new,
            156008466,
            "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
            "A",
            apache,
            sam2,
        ),
        (
            "sam2.1-hiera-small",
            "sam2.1_hiera_small.pt",
            new,
            184416285,
            "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
            "A",
            apache,
            sam2,
        ),
        (
            "sam2.1-hiera-base-plus",
            "sam2.1_hiera_base_plus.pt",
            new,
            323606802,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
            "B",
            apache,
            sam2,
        ),
        (
            "sam2.1-hiera-large",
            "sam2.1_hiera_large.pt",
            new,
            898083611,
            "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
            "B",
            apache,
            sam2,
        ),
        (
            "vgg16-bn",
            "vgg16_bn-6c64b313.pth",
            "https://download.pytorch.org/models",
            None,
            "6c64b313",
            "name",
            "BSD-3-Clause code; ImageNet terms may apply",
            vision,
        ),
        (
            "swin-b",
            "swin_b-68c6b09e.pth",
            "https://download.pytorch.org/models",
            None,
            "68c6b09e",
            "name",
            "BSD-3-Clause code; ImageNet terms may apply",
            vision,
        ),
        (
            "resnet50-v2",
            "resnet50_v2.pth",
            None,
            None,
            "",
            "-",
            "not stated",
            "https://drive.google.com/drive/folders/1Hrz1wOxOZm4nIIS7UMJeL79AQrdvpj6v",
        ),
        (
            "resnet101-v2",
            "resnet101_v2.pth",
            None,
            None,
            "",
            "-",
            "not stated",
            "https://drive.google.com/drive/folders/1Hrz1wOxOZm4nIIS7UMJeL79AQrdvpj6v",
        ),
        (
            "dinov2-vitb14",
            "dinov2_vitb14_pretrain.pth",
            f"{files}/dinov2/dinov2_vitb14",
            None,
            "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
            "B",
            apache,
            dino,
        ),
        (
            "dinov2-vitb14-reg4",
            "dinov2_vitb14_reg4_pretrain.pth",
            f"{files}/dinov2/dinov2_vitb14",
            346393545,
            "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71",
            "B",
            apache,
            dino,
        ),
        (
            "dinov2-vitl14",
            "dinov2_vitl14_pretrain.pth",
            f"{files}/dinov2/dinov2_vitl14",
            1217586395,
            "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
            "B",
            apache,
            dino,
        ),
        (
            "seggpt-vit-large",
            "seggpt_vit_large.pth",
            "https://huggingface.co/BAAI/SegGPT/resolve/main",
            1483023073,
            "59c74d1993ca50ac0ae968d9bbe5db453f50aa5d5c7c9564cce6011c18b16570",
            "A",
            "MIT",
            "https://huggingface.co/BAAI/SegGPT",
        ),
        (
            "seggpt-vit-large-transformers",
            "seggpt-vit-large/model.safetensors",  # beside it: config.json of the same page
            None,
            None,
            "809d3b653873a6fb9e9b5addab94ce2be9f7e49e56ac77da26a1ca0fc03f5c8f",
            "A",
            apache,
            "https://huggingface.co/BAAI/seggpt-vit-large",
        ),
        ("sansa", "adapter_*.pth", None, None, "", "-", "not stated", "https://github.com/ClaudiaCuttano/SANSA"),
        ("pfenet", "pfenet (8 models)", None, None, "", "-", "not stated", "https://github.com/dvlab-research/PFENet"),
    ]
    return {
        name: Checkpoint(name, file, None if base is None else f"{base}/{file}", size, sha256, mark, licence, page)
        for name, file, base, size, sha256, mark, licence, page in rows
    }


#: Every checkpoint the toolkit knows, by name.
CHECKPOINTS = _table()


def checkpoint(name: str) -> Checkpoint:
    """Return the known checkpoint ``name`` (its file name does as well).

    Raises:
        UsageError: None of that name.
    """
    for known in CHECKPOINTS.values():
        if name in (known.name, known.file):
            return known
    raise UsageError(f"no checkpoint '{name}'", fix=did_you_mean(name, CHECKPOINTS))


def weights_folder() -> Path:
    """Return the folder that fetched checkpoints go to: ``weights`` under ``ICVOS_HOME``."""
    return icvos_home() / "weights"


def verify_file(path: Path, known: Checkpoint) -> str:
    """Compare a file with what is known of it and return its SHA-256.

    Raises:
        WeightsError: Missing, of another size or another hash.
    """
    if not path.is_file():
        raise WeightsError("checkpoint not found", where=path, fix=f"fetch it: icvos weights fetch {known.name}")
    size = path.stat().st_size
    if known.size is not None and size != known.size:
        raise WeightsError(f"{known.name} has {size:,} bytes", where=path, expected=f"{known.size:,} bytes")
    digest = file_sha256(path)
    if not digest.startswith(known.sha256):
        raise WeightsError(
            f"{known.name} has the SHA-256 {digest}",
            where=path,
            expected=f"{known.sha256}{'…' if len(known.sha256) < 64 else ''} (known from: {MARKS[known.mark]})",
        )
    return digest
