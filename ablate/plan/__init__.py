"""What to run: from a request to resolved, validated runs in stacks. Planning trains nothing."""
