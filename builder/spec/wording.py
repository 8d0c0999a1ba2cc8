"""What is wrong with a key, in words a user can act on."""

import json
import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from builder.spec.table import Table
from builder.tables import nearest

SECRET_KEYS = frozenset({"product_key"})

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")  # toml.io, "Keys"; any other key is quoted
LARGEST_SHOWN = 10**18  # json refuses numbers of over 4300 digits

PLAIN = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be a table",
}


def findings(error: ValidationError) -> list[ErrorDetails]:
    """pydantic's findings without those that only count the elements another finding is about."""
    every = error.errors()
    deep = [details["loc"] for details in every]
    return [
        details
        for details in every
        if details["type"] != "too_short"
        or not any(
            loc != details["loc"] and loc[: len(details["loc"])] == details["loc"] for loc in deep
        )
    ]


def path_text(keys: tuple[str | int, ...]) -> str:
    """A location as people write it: `.nic[0].gateways`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key_text(key)}" for key in keys)


def key_text(key: str) -> str:
    """A key as TOML writes it."""
    return key if BARE_KEY.fullmatch(key) else json.dumps(key)


def say_what(details: ErrorDetails, model: type[Table]) -> str:
    """The sentence for one finding of pydantic; never shows the value of a secret key."""
    kind = details["type"]
    loc = details["loc"]
    if kind == "extra_forbidden":
        fields = _fields_at(model, loc[:-1])
        return say_unknown(str(loc[-1]), fields)
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    secret = any(key in SECRET_KEYS for key in loc)
    found = "" if secret else f", not {_shown(details['input'])}"
    if kind in {"enum", "literal_error"}:
        expected = details["ctx"]["expected"]
        choices = [part.strip("' ") for part in expected.replace(" or ", ", ").split(", ")]
        given = details["input"]
        guess = nearest(given, choices) if isinstance(given, str) else ""
        hint = f"; did you mean {guess!r}?" if guess else ""
        return f"must be {expected}{found}{hint}"
    if kind in PLAIN:
        return PLAIN[kind] + ("" if kind == "missing" else found)
    message = details["msg"].removeprefix("Input should be ").removeprefix("Value should ")
    return f"must be {message}{found}" if message[0].islower() else f"{message}{found}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) > LARGEST_SHOWN:
        return "a number that large"
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that a table of the spec may hold."""
    for key in loc:
        if isinstance(key, int):
            continue
        field = model.model_fields.get(key)
        inner = [] if field is None else _models(field.annotation)
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def say_unknown(key: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """The sentence for a key that does not exist."""
    guess = nearest(key, known)
    if guess:
        return f"unknown key; did you mean {guess!r}?"
    if key in elsewhere:
        return "this key belongs below [defaults] or [[host]]"
    return f"unknown key; known are {', '.join(known)}"
