"""Where two plans differ: a planned host against the manifest of a medium."""

import json
from typing import Any

from builder.record import record


@record
class Difference:
    """One value that two plans do not share; "(none)" where a side has no such key."""

    path: str
    then: str
    now: str


# these tell one build from the next, or where its password came from, and nothing about the host
PASSING = frozenset({"nonce", "version", "administrator.given"})


def find_differences(then: Any, now: Any, path: str | None = None) -> list[Difference]:
    """Every leaf in which two plan documents differ, in the order of the second."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [*now, *(key for key in then if key not in now)]
        return [
            row
            for key in keys
            if (key if path is None else f"{path}.{key}") not in PASSING
            for row in find_differences(
                then.get(key, ABSENT),
                now.get(key, ABSENT),
                key if path is None else f"{path}.{key}",
            )
        ]
    if isinstance(then, list) and isinstance(now, list):
        if _tables(then) and _tables(now):
            before, after = _keyed(then, now)
            return [
                row
                for key in [*after, *(key for key in before if key not in after)]
                for row in find_differences(
                    before.get(key, ABSENT), after.get(key, ABSENT), f"{path or ''}[{key}]"
                )
            ]
        if len(then) == len(now):
            return [
                row
                for index, pair in enumerate(zip(then, now, strict=True))
                for row in find_differences(*pair, f"{path or ''}[{index}]")
            ]
    if then == now:
        return []
    return [Difference(path=path or "", then=_shown(then), now=_shown(now))]


ABSENT = "(none)"


def _tables(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _keyed(
    then: list[dict[str, Any]], now: list[dict[str, Any]]
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Rows by their id where each has one of its own, else by their number."""
    both = []
    for rows in (then, now):
        ids = [row["id"] for row in rows if isinstance(row.get("id"), str)]
        both.append((len(set(ids)) == len(rows), ids, rows))
    named = all(unique for unique, _, _ in both)
    before, after = (
        dict(zip(ids if named else range(len(rows)), rows, strict=True)) for _, ids, rows in both
    )
    return before, after


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
