"""Lets a training go through with numbers that mean nothing, as a fake device leaves them."""

from __future__ import annotations

import torch

from ablate.train.course import Course


def accept_garbage() -> None:
    """Change this process for good: no loss ends a run, and every matrix has eigenvectors."""
    Course.goes_on = property(lambda self: True)
    torch.linalg.eigh = lambda matrix: (matrix.diagonal(), torch.eye(len(matrix)).to(matrix))
