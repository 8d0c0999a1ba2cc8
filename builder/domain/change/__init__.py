"""A change to a domain carried out: the machine, its journal, and the effect of each step."""
