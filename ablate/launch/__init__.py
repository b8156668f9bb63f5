"""Executes a plan: in this process, in worker processes or on a cluster; no result is lost."""
