"""`ablate inspect`: activations and gradients, layer by layer."""
