"""`ablate evaluate`: saved runs again."""
