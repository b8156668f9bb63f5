"""Turns a request into resolved, checked runs in stacks. Planning trains nothing."""
