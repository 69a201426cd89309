"""Backbones and the prior mask."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from shared_data import shared
from tiny_dinov2 import TINY

from icvos.errors import UsageError, WeightsError
from icvos.foundation.backbone import BackboneFeatures
from icvos.foundation.backbones import create_backbone, load_backbone
from icvos.foundation.bottleneck import Bottleneck, all_bottlenecks, fold_norms, masked_bottlenecks
from icvos.foundation.prior import prior_mask


def on_meta(name: str, options: dict | None = None) -> torch.nn.Module:
    with torch.device("meta"):
        return create_backbone(name, options)


@pytest.mark.parametrize(
    ("name", "file"), [("resnet50", "dc_sam_v2_resnet50_q25"), ("vgg16_bn", "dc_sam_v1_vgg16_q25")]
)
def test_keys_are_the_references(name: str, file: str) -> None:
    listed = json.loads(shared("facts", "state_dicts", f"ref_state_dict_{file}.json").read_text())["keys"]
    expected = {key: tuple(value["shape"]) for key, value in listed.items() if key.startswith("layer")}
    assert {key: tuple(value.shape) for key, value in on_meta(name).state_dict().items()} == expected


# (name, options, size, middle, deep, top): the strides that the model's grid rests on.
@pytest.mark.parametrize(
    ("name", "options", "size", "shapes"),
    [
        ("resnet50", {}, 512, [(512, 64), (1024, 64), (2048, 64)]),
        ("resnet101", {}, 512, [(512, 64), (1024, 64), (2048, 64)]),
        ("vgg16_bn", {}, 512, [(256, 64), (512, 32), (512, 32)]),
        ("small", {"width": 8}, 64, [(16, 8), (32, 8), (32, 8)]),
        ("dinov2_vitb14", {}, 512, [(768, 37), (768, 37), (768, 37)]),
        ("dinov2_vitl14", {}, 518, [(1024, 37), (1024, 37), (1024, 37)]),
        ("dinov2_vitb14", TINY, 56, [(24, 4), (24, 4), (24, 4)]),
    ],
)
def test_shapes(name: str, options: dict, size: int, shapes: list[tuple[int, int]]) -> None:
    backbone = on_meta(name, options)
    features = backbone(torch.empty(2, 3, size, size, device="meta"), top=True)
    found = [features.middle, features.deep, features.top]
    assert [tuple(x.shape) for x in found] == [(2, c, side, side) for c, side in shapes]
    assert backbone.channels == (shapes[0][0], shapes[1][0])
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())


def test_dinov2_vitl14_has_the_official_keys() -> None:
    keys = {key: tuple(value.shape) for key, value in on_meta("dinov2_vitl14").state_dict().items()}
    block = {
        **{f"{norm}.{kind}": (1024,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")},
        "attn.qkv.weight": (3072, 1024),
        "attn.qkv.bias": (3072,),
        "attn.proj.weight": (1024, 1024),
        "attn.proj.bias": (1024,),
        "ls1.gamma": (1024,),
        "ls2.gamma": (1024,),
        "mlp.fc1.weight": (4096, 1024),
        "mlp.fc1.bias": (4096,),
        "mlp.fc2.weight": (1024, 4096),
        "mlp.fc2.bias": (1024,),
    }
    expected = {
        "cls_token": (1, 1, 1024),
        "pos_embed": (1, 1370, 1024),
        "patch_embed.proj.weight": (1024, 3, 14, 14),
        "patch_embed.proj.bias": (1024,),
        "norm.weight": (1024,),
        "norm.bias": (1024,),
        **{f"blocks.{number}.{name}": shape for number in range(24) for name, shape in block.items()},
    }
    assert keys == expected


def test_resnet101_counts_its_blocks() -> None:
    keys = on_meta("resnet101").state_dict()
    assert "layer3.22.conv1.weight" in keys
    assert "layer3.23.conv1.weight" not in keys


def test_dilated_layers_keep_the_grid_and_widen_the_view() -> None:
    # One changed pixel of layer 3's input reaches 4 cells away through two blocks' dilated 3x3s, and skips odd ones.
    layer = create_backbone("resnet50").layer3[:2]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 512, 13, 13, generator=generator)
    y = x.clone()
    y[0, :, 6, 6] += 5
    changed = ((layer(x) - layer(y)).abs().amax(dim=(0, 1)) > 1e-6).nonzero() - 6
    assert changed.abs().max() == 4
    assert (changed % 2 == 0).all()


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
@pytest.mark.parametrize("dilation", ["torchvision", "pspnet"])
def test_dilated_layers_are_those_of_torchvision_or_of_pspnet(name: str, dilation: str) -> None:
    """Layers 1 to 4 of the same weights in torchvision's own network; PSPNet sets the first blocks' 3x3s on top."""
    import torchvision

    theirs = getattr(torchvision.models, name)(replace_stride_with_dilation=[False, True, True])
    if dilation == "pspnet":
        for layer, factor in ((theirs.layer3, 2), (theirs.layer4, 4)):
            layer[0].conv2.dilation = layer[0].conv2.padding = (factor, factor)
    mine = create_backbone(name, {"dilation": dilation})
    x = torch.randn(1, 128, 12, 12, generator=torch.Generator().manual_seed(0))
    # The deep stem gives 128 channels.
    theirs.layer1[0].conv1 = torch.nn.Conv2d(128, 64, 1, bias=False)
    theirs.layer1[0].downsample[0] = torch.nn.Conv2d(128, 256, 1, bias=False)
    theirs, mine, x = theirs.eval().double(), mine.double(), x.double()
    with torch.no_grad():
        for number in (1, 2, 3, 4):
            layer, other = getattr(mine, f"layer{number}"), getattr(theirs, f"layer{number}")
            layer.load_state_dict(other.state_dict())
            deep, x = x, other(x)
            torch.testing.assert_close(layer(deep), x)
        mask = (torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5).double()
        (top,) = mine.tops(BackboneFeatures(deep, deep), [mask])
        torch.testing.assert_close(top * mask, theirs.layer4(deep * mask) * mask)


def test_a_resnet_has_one_of_two_dilations() -> None:
    for options in ({"dilation": "hsnet"}, {"dilation": 2}):
        with pytest.raises(UsageError, match="expected torchvision or pspnet"):
            create_backbone("resnet50", options)
    for name, expected in (("vgg16_bn", "none"), ("efficientnet-lite2", "none"), ("dinov2_vitl14", "width or")):
        with pytest.raises(UsageError, match=f"^backbone {name} has no option 'dilation'; expected {expected}"):
            create_backbone(name, {"dilation": "pspnet"})


def test_torchvision_vgg_and_deep_stem_resnet_load() -> None:
    backbone = create_backbone("vgg16_bn")
    starts = {"layer0": 0, "layer1": 7, "layer2": 14, "layer3": 24, "layer4": 34}
    state = {"classifier.0.weight": torch.zeros(2)}
    for key, value in backbone.state_dict().items():
        layer, number, rest = key.split(".")
        state[f"features.{starts[layer] + int(number)}.{rest}"] = torch.full_like(value, 3)
    load_backbone(backbone, state)
    assert all((value == 3).all() for value in backbone.state_dict().values())

    resnet = create_backbone("resnet50")
    names = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
    state = {"module.fc.weight": torch.zeros(2)}
    for key, value in resnet.state_dict().items():
        layer, number, rest = key.split(".", 2)
        own = f"{names[number]}.{rest}" if layer == "layer0" else key
        if not key.endswith("num_batches_tracked"):  # absent from old files
            state[f"module.{own}"] = torch.full_like(value, 2)
    load_backbone(resnet, state)
    assert (resnet.layer0[6].weight == 2).all()
    assert (resnet.layer4[2].bn3.running_var == 2).all()


def test_a_wrong_backbone_file_names_its_keys() -> None:
    resnet = create_backbone("resnet50")
    state = {k: v for k, v in resnet.state_dict().items() if "layer0" not in k}
    state["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    with pytest.raises(WeightsError, match=r"misses layer0\.1\.weight.*resnet50_v2"):
        load_backbone(resnet, state)
    small = create_backbone("small")
    with pytest.raises(WeightsError, match=r"unknown extra"):
        load_backbone(small, {**small.state_dict(), "extra": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"other shapes at layer0\.0\.weight"):
        load_backbone(small, {**small.state_dict(), "layer0.0.weight": torch.zeros(1)})


def test_unknown_names_and_options() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        create_backbone("resnet5")
    with pytest.raises(UsageError, match=r"has no option 'width'; expected dilation$"):
        create_backbone("resnet50", {"width": 3})
    with pytest.raises(UsageError, match="width of backbone small is a list; expected one value"):
        create_backbone("small", {"width": [16]})
    with pytest.raises(UsageError, match="heads that divide"):
        create_backbone("dinov2_vitb14", {**TINY, "heads": 5})


def test_dinov2_equals_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tiny network in Hugging Face's code, at another size than the position code's."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=6, num_attention_heads=2, patch_size=14, image_size=56, layerscale_value=0.7
    )
    torch.manual_seed(0)
    theirs = transformers.Dinov2Model(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = theirs.state_dict()
    parts = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"))

    def either(now: str, past: str) -> torch.Tensor:
        """transformers 5 renamed its attention."""
        return state[now] if now in state else state[past]

    own = {
        "cls_token": state["embeddings.cls_token"],
        "mask_token": state["embeddings.mask_token"],
        "pos_embed": state["embeddings.position_embeddings"],
    }
    for kind in ("weight", "bias"):
        own[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
        own[f"norm.{kind}"] = state[f"layernorm.{kind}"]
        for i in range(6):
            old, new = f"encoder.layer.{i}", f"blocks.{i}"
            own[f"{new}.attn.qkv.{kind}"] = torch.cat(
                [
                    either(f"{old}.attention.{now}.{kind}", f"{old}.attention.attention.{past}.{kind}")
                    for now, past in parts
                ]
            )
            own[f"{new}.attn.proj.{kind}"] = either(
                f"{old}.attention.o_proj.{kind}", f"{old}.attention.output.dense.{kind}"
            )
            for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                own[f"{new}.{part}.{kind}"] = state[f"{old}.{part}.{kind}"]
            own[f"{new}.ls1.gamma"] = state[f"{old}.layer_scale1.lambda1"]
            own[f"{new}.ls2.gamma"] = state[f"{old}.layer_scale2.lambda1"]
    backbone = create_backbone("dinov2_vitb14", TINY)
    load_backbone(backbone, own)
    for size in ((56, 56), (70, 84)):
        images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = theirs(images, output_hidden_states=True)
            # At another size DINOv2 interpolates the position code by a factor, transformers to a size: theirs here.
            code = theirs.embeddings.interpolate_pos_encoding(torch.zeros(1, 31, 24), *size)
            monkeypatch.setattr(backbone, "position", lambda grid, code=code: code)
            features = backbone(images)
            monkeypatch.undo()
        for found, tokens in (
            (features.middle, expected.hidden_states[3]),
            (features.deep, expected.hidden_states[5]),
            (features.top, expected.last_hidden_state),
        ):
            wanted = tokens[:, 1:].transpose(1, 2).reshape(found.shape)
            assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


# Official settings: factor (n + 0.1) / side without registers; size and antialiasing with them.
@pytest.mark.parametrize(("registers", "added", "sharpness"), [(0, 0.1, -0.75), (4, 0.0, -0.5)])
def test_dinov2_position_code_by_hand(registers: int, added: float, sharpness: float) -> None:
    side, count = 16, 24
    backbone = create_backbone("dinov2_vitb14", {**TINY, "pretrain_size": side * 14, "registers": registers})
    stored = torch.randn(side, generator=torch.Generator().manual_seed(0))
    backbone.pos_embed[0, 1:] = stored.repeat_interleave(side)[:, None]
    code = backbone.position(torch.Size((count, side)))[0, 1:, 0].unflatten(0, (count, side))

    def kernel(x: float) -> float:
        """Keys' cubic; Pillow's and antialiased torch's sharpness is -0.5, plain torch's -0.75."""
        a, x = sharpness, abs(x)
        return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a

    for row in range(4, count - 4):
        source = (row + 0.5) * side / (count + added) - 0.5
        around = range(int(source) - 1, int(source) + 3)
        expected = sum(kernel(source - i) * float(stored[i]) for i in around)
        assert float(code[row, 8]) == pytest.approx(expected, abs=1e-4)
    assert torch.equal(backbone.position(torch.Size((side, side))), backbone.pos_embed)


def test_dinov2_registers_and_top() -> None:
    backbone = create_backbone("dinov2_vitb14", {**TINY, "registers": 4})
    assert backbone.register_tokens.shape == (1, 4, 24)
    assert backbone.position(torch.Size((5, 6))).shape == (1, 31, 24)
    features = backbone(torch.rand(1, 3, 50, 60))
    assert features.top.shape == (1, 24, 4, 4)
    assert backbone.top(features, torch.zeros(1, 1, 4, 4)) is features.top
    with pytest.raises(UsageError, match="without their top map"):
        backbone.top(BackboneFeatures(features.middle, features.deep))


def test_prior_mask_by_loops() -> None:
    rng = np.random.default_rng(0)
    query, support = rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(4, 5, 3, 4))
    mask = (rng.random((4, 1, 3, 4)) > 0.5).astype(np.float64)
    expected = np.zeros((2, 1, 3, 4))
    for b in range(2):
        for y in range(3):
            for x in range(4):
                q = query[b, :, y, x]
                for s in (2 * b, 2 * b + 1):
                    vectors = (support[s] * mask[s]).reshape(5, -1).T
                    cosine = vectors @ q / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(q) + 1e-7)
                    expected[b, 0, y, x] += cosine.max() / 2
    found = prior_mask(*(torch.from_numpy(a) for a in (query, support, mask)))
    assert np.abs(found.numpy() - expected).max() < 1e-12


def test_prior_mask_finds_itself_and_nothing_in_an_empty_mask() -> None:
    features = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(prior_mask(features, features, torch.ones(1, 1, 6, 6)), torch.ones(1, 1, 6, 6), atol=1e-5)
    assert not prior_mask(features, features, torch.zeros(1, 1, 6, 6)).any()
    with pytest.raises(UsageError):
        prior_mask(features, features[:0], torch.zeros(0, 1, 6, 6))


@pytest.mark.parametrize("folded", [False, True], ids=["norms", "folded"])
def test_masked_bottlenecks_are_the_layer_inside_the_mask(folded: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Sequential(
        Bottleneck(6, 4, stride=1, dilation=2, project=True), Bottleneck(16, 4, stride=1, dilation=3, project=False)
    )
    for norm in (module for module in layer.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        for values in (norm.running_mean, norm.weight.data, norm.bias.data):
            values.normal_()
    layer.eval().requires_grad_(False)
    maps = torch.randn(4, 6, 17, 19)
    masks = torch.zeros(4, 1, 17, 19)
    masks[0, 0, 7:9, 8] = 1  # in the middle; 1: nothing; 2: everything; 3: at two borders
    masks[2] = 1
    masks[3, 0, 0, 18] = 1
    wanted = [layer(maps * side) * side for side in (masks, 1 - masks)]
    if folded:
        fold_norms(layer)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in layer.modules())
    assert all_bottlenecks(layer)
    found = masked_bottlenecks(layer, maps, [masks, 1 - masks])
    for side, mine, theirs in zip((masks, 1 - masks), found, wanted, strict=True):
        torch.testing.assert_close(mine * side, theirs, atol=1e-5, rtol=1e-5)
    assert not found[0][1].any()
    torch.testing.assert_close(masked_bottlenecks(layer, maps, [masks])[0] * masks, wanted[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet50", "vgg16_bn", "compact"])
def test_folded_norms_change_rounding_only(name: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name)
    for norm in (module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 1.5)
    image = torch.randn(1, 3, 64, 64)
    plain = backbone(image, top=True)
    fold_norms(backbone)
    folded = backbone(image, top=True)
    for mine, theirs in ((folded.middle, plain.middle), (folded.deep, plain.deep), (folded.top, plain.top)):
        assert mine is not None and theirs is not None
        assert float((mine - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())


def test_tops_with_norms_over_the_batch_are_those_of_each_mask_by_itself() -> None:
    """Cut to a mask's box, or both sides of it together, a map would have other means."""
    torch.manual_seed(0)
    backbone = create_backbone("resnet50")
    features = BackboneFeatures(torch.zeros(2, 512, 9, 9), torch.rand(2, 1024, 9, 9))
    mask = torch.zeros(2, 1, 9, 9)
    mask[0, :, 2:5, 3:6] = mask[1, :, 6:, :4] = 1
    backbone.layer4.train()
    start = {key: value.clone() for key, value in backbone.state_dict().items()}
    expected = [backbone.top(features, side) for side in (mask, 1 - mask)]
    statistics = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.load_state_dict(start)
    for one, other in zip(backbone.tops(features, (mask, 1 - mask)), expected, strict=True):
        torch.testing.assert_close(one, other)
    for key, value in backbone.state_dict().items():
        torch.testing.assert_close(value, statistics[key])
