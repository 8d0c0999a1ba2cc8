"""A run: from a spec to an installed VM that has proven itself, step by step, resumable."""
