"""Tests for GPUs; most need none, and run on a fake device that computes nothing."""
