"""Small and real-sized networks for training trials; synthetic data, nothing is downloaded."""

from __future__ import annotations

from typing import Any


def conv_net(nn: Any) -> Any:
    """Two convolutions and a classifier for 3 x 16 x 16 images, 4 classes."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 4),
    )


def image_batch(trial: Any, count: int = 32, side: int = 16, classes: int = 4) -> Any:
    """Images of noise over one pattern per class, and their classes: learnable, and not trivially so."""
    torch = trial.torch
    labels = torch.arange(count) % classes
    patterns = trial.normal(classes, 3, side, side)
    return 0.5 * trial.normal(count, 3, side, side) + patterns[labels], labels


def encoder(torch: Any, words: int, width: int, heads: int, inner: int, layers: int, length: int, classes: int) -> Any:
    """A BERT-style encoder: embeddings with positions, post-norm layers with GELU, a classifier on the first token."""
    nn = torch.nn
    base: Any = nn.Module

    class Encoder(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(words, width)
            self.places = nn.Embedding(length, width)
            self.norm = nn.LayerNorm(width)
            layer = nn.TransformerEncoderLayer(width, heads, inner, dropout=0.0, activation="gelu", batch_first=True)
            self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            self.pool = nn.Linear(width, width)
            self.head = nn.Linear(width, classes)

        def forward(self, tokens: Any) -> Any:
            places = torch.arange(tokens.shape[1], device=tokens.device)
            x = self.layers(self.norm(self.words(tokens) + self.places(places)))
            return self.head(torch.tanh(self.pool(x[:, 0])))

    return Encoder()


def resnet18(nn: Any, classes: int = 10) -> Any:
    """ResNet-18 as used for 32 x 32 images (He et al. 2016): 3x3 stem without pooling, four stages of two blocks."""

    base: Any = nn.Module

    class Block(base):  # type: ignore[misc]
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
                nn.Conv2d(after, after, 3, 1, 1, bias=False),
                nn.BatchNorm2d(after),
            )
            self.skip = nn.Sequential()
            if stride != 1 or before != after:
                self.skip = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.body(x) + self.skip(x))

    blocks = []
    before = 64
    for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [Block(before, after, stride), Block(after, after, 1)]
        before = after
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
