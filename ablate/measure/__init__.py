"""Measures trained networks. Nothing here reads requests, prints or draws."""
