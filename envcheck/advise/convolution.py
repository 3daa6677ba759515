"""ResNets, layer by layer: parameters, and the feature maps that a training step keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTHS = (64, 128, 256, 512)
CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One convolution with its batch norm. ``relu``: followed by one; ``adds``: a residual is added to its output."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    side: int  # of the input, pixels
    relu: bool = True

    @property
    def out_side(self) -> int:
        return (self.side + self.stride - 1) // self.stride

    @property
    def params(self) -> int:
        return self.inputs * self.outputs * self.kernel**2 + 2 * self.outputs  # weight, batch norm's two vectors

    @property
    def out_elements(self) -> int:
        return self.outputs * self.out_side**2

    @property
    def multiply_adds(self) -> int:
        return self.inputs * self.outputs * self.kernel**2 * self.out_side**2


def convolutions(blocks: Sequence[int], bottleneck: bool, side: int = 224) -> Iterator[Convolution]:
    """Every convolution of torchvision's ResNet with those blocks per stage, for a square image of ``side`` pixels."""
    yield Convolution(inputs=3, outputs=64, kernel=7, stride=2, side=side)
    side = ((side + 1) // 2 + 1) // 2  # the stem, then max pooling
    channels, expansion = 64, 4 if bottleneck else 1
    for stage, count in enumerate(blocks):
        width = WIDTHS[stage]
        for number in range(count):
            stride = 2 if stage and not number else 1
            out = width * expansion
            if bottleneck:
                yield Convolution(inputs=channels, outputs=width, kernel=1, stride=1, side=side)
                yield Convolution(inputs=width, outputs=width, kernel=3, stride=stride, side=side)
                yield Convolution(inputs=width, outputs=out, kernel=1, stride=1, side=-(-side // stride))
            else:
                yield Convolution(inputs=channels, outputs=width, kernel=3, stride=stride, side=side)
                yield Convolution(inputs=width, outputs=out, kernel=3, stride=1, side=-(-side // stride))
            if stride != 1 or channels != out:
                yield Convolution(inputs=channels, outputs=out, kernel=1, stride=stride, side=side, relu=False)
            channels, side = out, -(-side // stride)


def resnet_params(blocks: Sequence[int], bottleneck: bool) -> int:
    """Parameters with torchvision's 1000-class output layer."""
    features = WIDTHS[-1] * (4 if bottleneck else 1)
    return sum(c.params for c in convolutions(blocks, bottleneck)) + features * CLASSES + CLASSES


def resnet_saved_elements(blocks: Sequence[int], bottleneck: bool, side: int) -> int:
    """Elements that the backward pass of one image needs: each convolution's output (batch norm's input) and the
    ReLU's output, which is the next convolution's input; plus the image and the max pooling's input."""
    layers = list(convolutions(blocks, bottleneck, side))
    kept = sum(c.out_elements * (2 if c.relu else 1) for c in layers)
    return kept + 3 * side**2 + layers[0].outputs * ((layers[0].out_side + 1) // 2) ** 2 * 3


def resnet_macs(blocks: Sequence[int], bottleneck: bool, side: int) -> int:
    """Multiply-adds of one forward pass of one image."""
    return sum(c.multiply_adds for c in convolutions(blocks, bottleneck, side))
