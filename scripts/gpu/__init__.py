"""The parts of `scripts/bench_gpu.py`, and what they share.

A part is a module with three functions: `jobs` lists what it measures, `told` words the figures of
one job, `closing` those of all jobs. `jobs.py` does the jobs and keeps the figures.
"""
