"""Looking inside: why an arm is as it is."""
