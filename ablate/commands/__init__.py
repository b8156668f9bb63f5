"""The commands, one file each: they read the request, do the work and print the result."""
