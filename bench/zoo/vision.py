"""Architectures of `torchvision` and `timm`, with random weights; each function is an entry function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import beside_cpu_torch  # noqa: F401
import timm
import torch
import torch.nn.functional as F
import torchvision.models
from torch import Tensor, nn

Entry = tuple[nn.Module, Any, Callable[..., Tensor], tuple[Tensor, ...]]


def _torchvision(name: str, size: int = 64, **settings: Any) -> Entry:
    return _classifier(torchvision.models.get_model(name, weights=None, num_classes=10, **settings), size)


def _timm(name: str, size: int = 64, **settings: Any) -> Entry:
    return _classifier(timm.create_model(name, pretrained=False, num_classes=10, **settings), size)


def _classifier(model: nn.Module, size: int) -> Entry:
    return model, (torch.randn(4, 3, size, size),), F.cross_entropy, (torch.randint(0, 10, (4,)),)


def vgg11_bn() -> Entry:
    return _torchvision("vgg11_bn")


def resnet18() -> Entry:
    return _torchvision("resnet18")


def densenet121() -> Entry:
    return _torchvision("densenet121")


def mobilenet_v3() -> Entry:
    return _torchvision("mobilenet_v3_small")


def regnet() -> Entry:
    return _torchvision("regnet_y_400mf")


def googlenet() -> Entry:
    """With its two auxiliary classifiers, whose losses count by 0.3."""
    model, inputs, _, targets = _torchvision("googlenet", 96, aux_logits=True, init_weights=False)

    def loss(output: Any, target: Tensor) -> Tensor:
        main, second, first = (F.cross_entropy(part, target) for part in output)
        return main + 0.3 * (second + first)

    return model, inputs, loss, targets


def swin_v2() -> Entry:
    return _torchvision("swin_v2_t")


def vision_transformer() -> Entry:
    return _classifier(
        torchvision.models.VisionTransformer(
            image_size=64, patch_size=8, num_layers=3, num_heads=4, hidden_dim=128, mlp_dim=256, num_classes=10
        ),
        64,
    )


def _segmentation(name: str) -> Entry:
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=5)

    def loss(output: dict[str, Tensor], target: Tensor) -> Tensor:
        return F.cross_entropy(output["out"], target)

    return model, (torch.randn(2, 3, 64, 64),), loss, (torch.randint(0, 5, (2, 64, 64)),)


def deeplab_v3() -> Entry:
    return _segmentation("deeplabv3_mobilenet_v3_large")


def video_resnet() -> Entry:
    model = torchvision.models.get_model("r3d_18", weights=None, num_classes=10)
    return model, (torch.randn(2, 3, 8, 32, 32),), F.cross_entropy, (torch.randint(0, 10, (2,)),)


def raft() -> Entry:
    """Optical flow, with a loop of updates; its loss weighs every one of them."""
    from torchvision.models.optical_flow import raft_small

    def loss(output: list[Tensor], target: Tensor) -> Tensor:
        return torch.stack(
            [0.8 ** (len(output) - k - 1) * (flow - target).abs().mean() for k, flow in enumerate(output)]
        ).sum()

    model = raft_small(weights=None)
    inputs = {"image1": torch.randn(1, 3, 128, 128), "image2": torch.randn(1, 3, 128, 128), "num_flow_updates": 3}
    return model, inputs, loss, (torch.randn(1, 2, 128, 128),)


def mlp_mixer() -> Entry:
    from timm.models.mlp_mixer import MlpMixer

    return _classifier(MlpMixer(10, img_size=64, patch_size=8, embed_dim=128, num_blocks=3), 64)


def convmixer() -> Entry:
    from timm.models.convmixer import ConvMixer

    return _classifier(ConvMixer(96, 4, num_classes=10), 64)


def efficientnet() -> Entry:
    return _timm("efficientnet_b0", drop_path_rate=0.2)


def poolformer() -> Entry:
    return _timm("poolformer_s12")


def convnext_v2() -> Entry:
    return _timm("convnextv2_atto")


def deit() -> Entry:
    return _timm("deit_tiny_patch16_224", img_size=64, depth=4, drop_path_rate=0.1)


def beit() -> Entry:
    return _timm("beit_base_patch16_224", img_size=64, embed_dim=96, depth=3, num_heads=4)


def levit() -> Entry:
    return _timm("levit_128s", 224)
