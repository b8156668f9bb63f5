"""The table of knobs: files for the network, the training, the run, and what looks at runs."""
