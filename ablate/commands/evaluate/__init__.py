"""`ablate evaluate`: measures saved runs again."""
