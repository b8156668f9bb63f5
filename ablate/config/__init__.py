"""Declares every knob once: type, range, effect, and the files and classes behind options."""
