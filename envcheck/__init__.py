"""envcheck: makes any NVIDIA machine run PyTorch, and proves it."""

__version__ = "0.1.0"
