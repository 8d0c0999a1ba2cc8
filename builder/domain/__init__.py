"""Domain controllers: cases, checks before the wipe, runbook, and the order of a reinstallation."""
