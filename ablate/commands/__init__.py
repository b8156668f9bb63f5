"""The commands: one file or folder each, which asks, does and prints."""
