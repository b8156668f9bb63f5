"""Studies: a question with arms and claims, read from a file, trained and measured."""
