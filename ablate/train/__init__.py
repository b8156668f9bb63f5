"""Training over the run axis: the step, the course of a run, scores, and how a stack is applied."""
