"""The commands, a file or folder each: read the request, do the work, print the result."""
