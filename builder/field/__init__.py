"""What a real installation showed: gathered, scrubbed, bundled, and held against the beliefs."""
