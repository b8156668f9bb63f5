"""Studies: a question, its arms and claims, read from a file and brought to its end."""
