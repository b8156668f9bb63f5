"""Simulations of the report's statistics, where the truth is known."""
