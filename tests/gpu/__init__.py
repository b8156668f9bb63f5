"""Tests of what happens on a GPU; most need none, and run on a fake that computes nothing."""
