"""fleet: many ``gate`` reports, one a node, compared. Reads files alone; running on nodes is the scheduler's work."""

from __future__ import annotations

from .compare import Fleet, Odd, compare
from .read import Card, Damaged, Folder, Node, read_file, read_folder

__all__ = ["Card", "Damaged", "Fleet", "Folder", "Node", "Odd", "compare", "read_file", "read_folder"]
