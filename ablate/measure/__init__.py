"""Measures trained networks; nothing here asks, prints or draws."""
