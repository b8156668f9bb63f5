"""Networks: ordinary modules that map images [B, C, H, W] to logits [B, K]; no run axis."""
