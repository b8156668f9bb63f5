"""Update rules over the run axis: one step of R optimizers, each with its own coefficients.

The arithmetic follows torch.optim's single-tensor functions operation by operation, so that in
float32 a run gets the same bits on the CPU as from torch's optimizer of that name. Each file holds
a family of rules; a rule's docstring is its card. Optimizers that evaluate the loss several times
per step are in `ablate.optim.solvers`.
"""

from ablate.optim.optimizer import Optimizer

__all__ = ["Optimizer"]
