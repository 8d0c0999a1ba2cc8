"""The spec of a site: TOML, environment and flags as checked values."""
