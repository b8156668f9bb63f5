"""The table of knobs: one file for what is trained on which data, one for how, one for the run."""
