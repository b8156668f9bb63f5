"""Early stopping: a run ends once its validation score has not improved for some epochs.

When it helps: training that overfits in the end; it saves the epochs after the best one. Take the
weights of the best epoch with it (``select=best``), and not a schedule that needs its last epochs.
Settings: a patience of 5 to 20 epochs, or a tenth of training; the score is noisy.
Source: Prechelt 1998, Early Stopping - But When?, in Neural Networks: Tricks of the Trade; the rule
with patience is Goodfellow, Bengio & Courville 2016, Deep Learning, algorithm 7.1.
"""

from __future__ import annotations

from ablate.config.course import last_epoch


def has_stalled(epoch: int, best_epoch: int, patience: int) -> bool:
    """Tell whether a run should end.

    Args:
        epoch: Epochs done.
        best_epoch: The epoch of the best validation score so far, at most ``epoch``.
        patience: Epochs without a better score after which a run ends, at least 1.
    """
    return epoch >= last_epoch(best_epoch, patience)
