"""Optimizers: the rule that makes a step of the weights from their gradients.

When it helps: a good one learns faster, and needs less tuning; where training ends depends less on
it, once each has a rate of its own. Adam and its kin train almost anything at their usual rates,
and help where layers' gradients differ in size (recurrent layers, no norm); momentum with a falling
rate does as well or better on conv nets with batch norm; lbfgs and newton are for small, smooth
problems of one batch. It hurts to compare them all at one rate, which ranks the rates.
Settings: adam at 1e-3, or nesterov at 0.05 to 0.1 with a norm; then tune the rate, by factors of
about 3.
Source: Choi et al. 2019, arXiv:1910.05446, section 4 (what is tuned decides the ranking); Schmidt,
Schneider & Hennig 2021, arXiv:2007.01547 (none wins everywhere); Wilson et al. 2017,
arXiv:1705.08292, section 4 (where adaptive rates generalize worse).

Update rules work over the run axis: one step of R optimizers, each with its own coefficients. The
arithmetic follows torch.optim's single-tensor functions operation by operation, so that in float32
a run gets the same bits on the CPU as from torch's optimizer of that name. One file holds a family
of rules; a rule's docstring is its card. Optimizers that ask for the loss again are in
`ablate.optim.solvers`.
"""

from ablate.optim.optimizer import Optimizer

__all__ = ["Optimizer"]
