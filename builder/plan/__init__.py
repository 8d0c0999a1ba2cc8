"""The plan: every decision, taken once, frozen, printable, with a fingerprint."""
