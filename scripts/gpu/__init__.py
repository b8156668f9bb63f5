"""The parts of `scripts/bench_gpu.py`, and what they share.

A part is a module with three functions: `jobs` lists what it measures, `told` puts the figures of
one job into lines, `closing` those of all of them. `jobs.py` does the jobs and keeps the figures.
"""
