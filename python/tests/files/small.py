import torch
import torch.nn.functional as F
from torch import nn


class Conv(nn.Module):
    """Every kind of save: input, output, both, statistics, a mask, nothing."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv1(x)
        y = self.relu(self.norm(self.conv2(x)))
        x = torch.relu(x + y)
        x = self.drop(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return self.fc(x)


class Text(nn.Module):
    def __init__(self, vocabulary=31, width=8):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids, mask=None):
        x = self.norm(self.embed(ids))
        if mask is not None:
            x = x * mask
        return {"logits": self.head(x)}


def loss(output, target):
    logits = output["logits"] if isinstance(output, dict) else output
    return F.cross_entropy(logits.flatten(0, -2), target.flatten())
