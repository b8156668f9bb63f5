"""Regularization, one file per method; the module's docstring is the method's card.

Every function works on R runs at once, and a run's bits depend neither on R nor on its slot.
Strengths are float64 [R], on the device of the tensors that they act on.

`ablate.regularize.registry` lists penalties, limits and averages of the weights, and says how to
add one. Methods that act elsewhere (on images, targets, the network or the course of a run) are
called directly where they act, in `train/` or `nets/`.
"""
