"""`ablate audit`: trains recorded runs again, and compares them bit by bit."""
