"""Networks of `torch.nn` alone, as people write them; each function is an entry function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Entry = tuple[nn.Module, Any, Callable[..., Tensor] | None, tuple[Tensor, ...]]


class Translator(nn.Module):
    """nn.Transformer between an embedding and a head, with a causal and a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(500, 64)
        self.transformer = nn.Transformer(64, 4, 2, 2, 128, batch_first=True)
        self.head = nn.Linear(64, 500)

    def forward(self, source: Tensor, target: Tensor, padding: Tensor | None = None) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device=target.device)
        x = self.transformer(
            self.embed(source), self.embed(target), tgt_mask=causal, src_key_padding_mask=padding, tgt_is_causal=True
        )
        return self.head(x).transpose(1, 2)


def transformer() -> Entry:
    padding = torch.zeros(4, 48, dtype=torch.bool)
    padding[0, 40:] = True
    ids = torch.randint(0, 500, (4, 32))
    inputs = {"source": torch.randint(0, 500, (4, 48)), "target": ids, "padding": padding}
    return Translator(), inputs, F.cross_entropy, (ids,)


def transformer_encoder() -> Entry:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), (torch.randn(4, 96, 64),), None, ()


class Tagger(nn.Module):
    """An embedding, a recurrent net in both directions, a head for each step."""

    def __init__(self, kind: type[nn.RNNBase], layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(500, 64)
        self.rnn = kind(64, 64, layers, batch_first=True, bidirectional=True, dropout=0.2)
        self.head = nn.Linear(128, 9)

    def forward(self, ids: Tensor) -> Tensor:
        x, _ = self.rnn(self.embed(ids))
        return self.head(x).transpose(1, 2)


def lstm_tagger() -> Entry:
    return Tagger(nn.LSTM), (torch.randint(0, 500, (8, 48)),), F.cross_entropy, (torch.randint(0, 9, (8, 48)),)


def gru_tagger() -> Entry:
    return Tagger(nn.GRU), (torch.randint(0, 500, (8, 48)),), F.cross_entropy, (torch.randint(0, 9, (8, 48)),)


class Cells(nn.Module):
    """A loop over time in Python, as code older than nn.LSTM has it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.LSTMCell(16, 64), nn.GRUCell(64, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = c = g = x.new_zeros(x.shape[0], 64)
        for step in x.unbind(1):
            h, c = self.first(step, (h, c))
            g = self.second(h, g)
        return self.head(g)


def recurrent_cells() -> Entry:
    return Cells(), (torch.randn(16, 24, 16),), F.cross_entropy, (torch.randint(0, 4, (16,)),)


class Packed(nn.Module):
    """A packed sequence: how long each row is decides what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(500, 64), nn.LSTM(64, 64, batch_first=True), nn.Linear(64, 4)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.rnn(packed)
        return self.head(h[-1])


def packed_lstm() -> Entry:
    inputs = (torch.randint(0, 500, (8, 32)), torch.tensor([32, 30, 28, 20, 16, 9, 8, 4]))
    return Packed(), inputs, F.cross_entropy, (torch.randint(0, 4, (8,)),)


class TemporalBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        weight_norm = nn.utils.parametrizations.weight_norm
        self.conv1 = weight_norm(nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.drop(F.relu(self.conv2(self.drop(F.relu(self.conv1(x)))))))


def temporal_convolutions() -> Entry:
    model = nn.Sequential(nn.Conv1d(12, 48, 1), *(TemporalBlock(48, 2**k) for k in range(4)), nn.Conv1d(48, 6, 1))
    return model, (torch.randn(8, 12, 256),), F.cross_entropy, (torch.randint(0, 6, (8, 256)),)


class VariationalAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(32, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.LeakyReLU(0.2, inplace=True), nn.Flatten(),
            nn.Linear(64 * 8 * 8, 64),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(32, 64 * 8 * 8), nn.Unflatten(1, (64, 8, 8)), nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(z), mean, log_variance


def variational_autoencoder() -> Entry:
    x = torch.rand(8, 3, 32, 32)

    def loss(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
        image, mean, log_variance = output
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
        return F.binary_cross_entropy(image, target, reduction="sum") + divergence

    return VariationalAutoencoder(), (x,), loss, (x,)


class Segmenter(nn.Module):
    """A U-shaped net with checkpoints of its own around its blocks."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList(self.block(3 if k == 0 else width * 2 ** (k - 1), width * 2**k) for k in range(3))
        self.up = nn.ModuleList(self.block(width * 2 ** (k + 1) + width * 2**k, width * 2**k) for k in (1, 0))
        self.head = nn.Conv2d(width, 4, 1)

    @staticmethod
    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.InstanceNorm2d(o, affine=True), nn.SiLU(),
                             nn.Conv2d(o, o, 3, padding=1), nn.GroupNorm(4, o), nn.SiLU())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        from torch.utils.checkpoint import checkpoint

        skips = []
        for k, block in enumerate(self.down):
            x = checkpoint(block, F.max_pool2d(x, 2) if k else x, use_reentrant=False)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = checkpoint(block, torch.cat([up, skip], 1), use_reentrant=False)
        return self.head(x)


def checkpointed_unet() -> Entry:
    return Segmenter(), (torch.randn(2, 3, 64, 64),), F.cross_entropy, (torch.randint(0, 4, (2, 64, 64)),)


class Recommender(nn.Module):
    """Bags of categories beside dense features, and their products (DLRM)."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(1000, 32, mode="sum") for _ in range(4))
        self.bottom = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(32 + 10, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, dense: Tensor, categories: dict[str, Tensor]) -> Tensor:
        x = self.bottom(dense)
        rows = torch.stack([x, *(table(ids) for table, ids in zip(self.tables, categories.values(), strict=True))], 1)
        products = rows @ rows.transpose(1, 2)
        i, j = torch.triu_indices(5, 5, 1, device=x.device)
        return self.top(torch.cat([x, products[:, i, j]], 1)).squeeze(1)


def recommender() -> Entry:
    categories = {name: torch.randint(0, 1000, (64, 3)) for name in ("user", "item", "shop", "hour")}
    inputs = {"dense": torch.randn(64, 13), "categories": categories}
    return Recommender(), inputs, F.binary_cross_entropy_with_logits, (torch.rand(64),)


class Attention(nn.Module):
    """Images cut in patches through nn.MultiheadAttention whose weights are wanted, with spectral norm (SAGAN, ViT)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 64, 8, 8))
        self.attend = nn.ModuleList(nn.MultiheadAttention(64, 4, dropout=0.1, batch_first=True) for _ in range(2))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch(x).flatten(2).transpose(1, 2)
        weights = []
        for attend in self.attend:
            y, w = attend(x, x, x, need_weights=True, average_attn_weights=False)
            x = x + y
            weights.append(w)
        return self.head(x.mean(1)), torch.stack(weights)


def attention_with_weights() -> Entry:
    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        logits, weights = output
        return F.cross_entropy(logits, target) - 0.01 * (weights.clamp_min(1e-6).log() * weights).mean()

    return Attention(), (torch.randn(4, 3, 64, 64),), loss, (torch.randint(0, 10, (4,)),)


class Gated(nn.Module):
    """A mixture whose experts are chosen by values: each runs on as many rows as came to it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
        self.gate = nn.Linear(64, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)) for _ in range(4))
        self.head = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        scores, chosen = self.gate(x).softmax(-1).max(-1)
        y = torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            (rows,) = torch.where(chosen == k)
            y = y.index_add(0, rows, expert(x[rows]) * scores[rows, None])
        return self.head(x + y)


def gated_by_value() -> Entry:
    return Gated(), (torch.randn(256, 32),), F.cross_entropy, (torch.randint(0, 8, (256,)),)
