"""The answer file: rendered here, and judged here."""
