"""UNets, an autoencoder and a transformer for diffusion (`diffusers`), graph networks (`torch_geometric`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import beside_cpu_torch  # noqa: F401
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Entry = tuple[nn.Module, Any, Callable[..., Tensor], tuple[Tensor, ...]]


def _of_sample(output: Any, target: Tensor) -> Tensor:
    return F.mse_loss(output.sample, target)


def diffusion_unet() -> Entry:
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(32, 64),
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    inputs = {"sample": torch.randn(4, 3, 32, 32), "timestep": torch.randint(0, 1000, (4,))}
    return model, inputs, _of_sample, (torch.randn(4, 3, 32, 32),)


def conditional_unet() -> Entry:
    """The shape of Stable Diffusion's: a UNet that reads a text by cross attention."""
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=32, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(32, 64),
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=48, attention_head_dim=8,
    )  # fmt: skip
    inputs = {
        "sample": torch.randn(2, 4, 32, 32), "timestep": torch.randint(0, 1000, (2,)),
        "encoder_hidden_states": torch.randn(2, 12, 48),
    }  # fmt: skip
    return model, inputs, _of_sample, (torch.randn(2, 4, 32, 32),)


def latent_autoencoder() -> Entry:
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        block_out_channels=(32, 64), norm_num_groups=8, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    image = torch.randn(2, 3, 32, 32)
    return model, {"sample": image}, _of_sample, (image,)


def diffusion_transformer() -> Entry:
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=16, in_channels=4, num_layers=3, sample_size=16,
        num_embeds_ada_norm=1000, norm_num_groups=8,
    )  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(4, 4, 16, 16), "timestep": torch.randint(0, 1000, (4,)),
        "class_labels": torch.randint(0, 1000, (4,)),
    }  # fmt: skip
    return model, inputs, _of_sample, (torch.randn(4, 4, 16, 16),)


class _GraphNet(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(64, 7)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.dropout(F.relu(layer(x, edge_index)), 0.5, self.training)
        return self.head(x)


def _on_graph(layers: list[nn.Module]) -> Entry:
    inputs = (torch.randn(400, 32), torch.randint(0, 400, (2, 2000)))
    return _GraphNet(layers), inputs, F.cross_entropy, (torch.randint(0, 7, (400,)),)


def graph_convolutions() -> Entry:
    from torch_geometric.nn import GCNConv

    return _on_graph([GCNConv(32, 64), GCNConv(64, 64), GCNConv(64, 64)])


def graph_attention() -> Entry:
    from torch_geometric.nn import GATConv

    return _on_graph([GATConv(32, 16, heads=4), GATConv(64, 16, heads=4)])


def graph_sage() -> Entry:
    from torch_geometric.nn import SAGEConv

    return _on_graph([SAGEConv(32, 64), SAGEConv(64, 64)])


def graph_isomorphism() -> Entry:
    from torch_geometric.nn import GINConv

    def mlp(i: int) -> nn.Module:
        return nn.Sequential(nn.Linear(i, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64))

    return _on_graph([GINConv(mlp(32)), GINConv(mlp(64))])
