"""Regularization, one file a method: the module's docstring is the method's card.

Every function works on R runs at once, and a run's bits depend neither on R nor on its slot.
Strengths are float64 [R], on the device of the tensors that they act on.

To add a penalty, a limit or an average of the weights: write its file, with the functions that
`ablate.regularize.registry` asks of its kind; add its line to the table there; declare its knob in
`ablate/config/knobs/training.py`; and give its off value in conf/regularize/*.yaml. What acts
elsewhere (on images, targets, the network or the course of a run) is called from the one place in
`train/` or `nets/` that it changes.
"""
