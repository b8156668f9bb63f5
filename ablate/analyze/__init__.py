"""Turns records into frames, contrasts and verdicts: numbers in, numbers out."""
