"""Simulations of the report's intervals and verdicts; results/published/simulations has the tables.

Each is a command of its own, from the repository's root, with a fixed generator:

    PYTHONPATH=scripts python -m simulations.which_interval
    PYTHONPATH=scripts python -m simulations.verdicts
    PYTHONPATH=scripts python -m simulations.seeds_and_images
    PYTHONPATH=scripts python -m simulations.factors
    PYTHONPATH=scripts python -m simulations.looks
    PYTHONPATH=scripts python -m simulations.planning
"""
