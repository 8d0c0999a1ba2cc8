"""A broken rule between keys."""

from builder.record import record


@record
class Conflict:
    """A rule that is broken: `key` where the user should look, `reads` all keys it rests on."""

    key: str
    reads: tuple[str, ...]
    what: str
    hint: str = ""
