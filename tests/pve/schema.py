"""What Proxmox VE says about the parameters of a call: types, formats, enums, property strings.

A port of the rules of PVE::JSONSchema::validate (pve-common src/PVE/JSONSchema.pm), held to the
verdicts that the real validator gave (`data/vectors-*.json`). Values are text as a form carries
it, or lists of text. The rules of 8.4 and 9.2 differ in few sentences; data and `release` say so.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.pve.formats import (
    Refused,
    check_cpu,
    make_checks,
    parse_boolean,
    perl_pattern,
    split_list,
)

DATA = Path(__file__).with_name("data")
RELEASES = ("8.4", "9.2")
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"

Value = str | list[str]
Errors = dict[str, str]


@functools.cache
def load_schema(release: str) -> "Schema":
    """The calls and formats of a release, `8.4` or `9.2`."""
    return Schema(json.loads((DATA / f"schema-{release}.json").read_text(encoding="utf-8")))


class Schema:
    """Calls, formats and privileges of one release."""

    def __init__(self, document: Mapping[str, Any]):
        self.release: str = document["release"]
        self.calls: Mapping[str, Any] = document["calls"]
        self.privileges = frozenset(document["privileges"])
        self._indexed: Mapping[str, int] = document["indexed_max"]
        self._inline: Sequence[Mapping[str, Any]] = document["inline_formats"]
        self._named: Mapping[str, Any] = document["named_formats"]
        self._cpu = {"models": document["cpu_models"], "flags": document["cpu_flags"]}
        self._checks = make_checks(
            document["code_formats"], privileges=self.privileges, release=self.release
        )
        self._routes = [(call, _route_pattern(call)) for call in self.calls]

    def find_call(self, method: str, path: str) -> tuple[str, dict[str, str]] | None:
        """The call of a method and a path below `/api2/json`, and the parameters in the path."""
        line = f"{method} {path}"
        for call, pattern in self._routes:
            found = pattern.fullmatch(line)
            if found:
                return call, found.groupdict()
        return None

    def paths(self, path: str) -> bool:
        """Whether any method knows the path."""
        return any(pattern.fullmatch(f"{call.split()[0]} {path}") for call, pattern in self._routes)

    def check(self, call: str, params: Mapping[str, Value]) -> Errors:
        """Sentences by parameter, empty when the call is allowed."""
        errors: Errors = {}
        parameters = self.calls[call]["parameters"]
        properties = parameters.get("properties", {})
        closed = not parameters.get("additionalProperties", 1)
        self._check_object("", properties, normalize(params, self, properties), errors, closed)
        return errors

    def property_of(self, properties: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
        """The schema of a parameter; `net[n]` stands for net0 to the highest number."""
        if "[" in name:
            return None
        if name in properties:
            found: Mapping[str, Any] = properties[name]
            return found
        indexed = re.fullmatch(r"([a-z]+)(0|[1-9]\d*)", name)
        if indexed and int(indexed[2]) <= self._indexed.get(indexed[1], -1):
            return properties.get(f"{indexed[1]}[n]")
        return None

    def parse(self, call: str, name: str, text: str) -> dict[str, str]:
        """Key to value of a property string parameter, aliases resolved; the text is valid."""
        declared = self.property_of(self.calls[call]["parameters"]["properties"], name)
        if declared is None:
            raise KeyError(name)
        return self.parse_properties(declared["format"], text, name)

    def parse_properties(self, form: str, text: str, path: str) -> dict[str, str]:
        """Key to value of a property string by the name of its format."""
        properties = self._properties(form)
        values = _split_properties(properties, text, first_boolean=self.release != "8.4")
        errors: Errors = {}
        self._check_object(path, properties, values, errors, closed=True)
        if errors:
            lines = "".join(f"{key}: {errors[key]}\n" for key in sorted(errors))
            raise Refused(f"format error\n{lines}".removesuffix("\n"))
        if form == "pve-vm-cpu-conf":
            check_cpu(values, **self._cpu)
        if form == "prune-backups" and values.get("keep-all") == "1" and len(values) > 1:
            raise Refused("keep-all cannot be set together with other options.")
        if form == "backup-fleecing" and values.get("enabled") == "1" and "storage" not in values:
            raise Refused("'storage' parameter is required when 'enabled' is set")
        return values

    def _properties(self, form: str) -> Mapping[str, Any]:
        if form.startswith("#"):
            return self._inline[int(form[1:])]
        found: Mapping[str, Any] = self._named[form]
        return found

    def _check_object(
        self,
        path: str,
        properties: Mapping[str, Any],
        value: Mapping[str, Value],
        errors: Errors,
        closed: bool,
    ) -> None:
        for key, declared in properties.items():
            if key not in value and not declared.get("optional") and "alias" not in declared:
                missing = "property is missing and it is not optional"
                _add(errors, _join(path, key), missing)
        for key, item in value.items():
            declared = self.property_of(properties, key)
            if declared is None:
                if closed:
                    _add(errors, _join(path, key), UNKNOWN)
                continue
            self._check_value(_join(path, key), declared, item, errors)
            required = declared.get("requires")
            if required and required not in value:
                _add(errors, _join(path, required), self._required_by(_join(path, key)))

    def _required_by(self, name: str) -> str:
        if self.release == "8.4":
            return f"missing property - '{name}' requires this property"
        return f"missing property required by '{name}'"

    def _check_value(
        self, path: str, declared: Mapping[str, Any], value: Value, errors: Errors
    ) -> None:
        if declared.get("alias"):
            return
        kind = declared.get("type")
        if kind == "array":
            items = value if isinstance(value, list) else [value]
            for number, item in enumerate(items):
                self._check_value(f"{path}[{number}]", declared.get("items", {}), item, errors)
            return
        if isinstance(value, list):
            _add(errors, path, f"type check ('{kind}') failed - got ARRAY")
            return
        sentence = _type_error(kind, value) or self._format_error(declared, value, path)
        sentence = sentence or _limit_error(declared, value)
        if sentence:
            _add(errors, path, sentence)

    def _format_error(self, declared: Mapping[str, Any], value: str, path: str) -> str | None:
        form = declared.get("format")
        if not form:
            return None
        try:
            self._check_format(form, value, path)
        except Refused as refused:
            return f"invalid format - {refused}\n"
        return None

    def _check_format(self, form: str, value: str, path: str) -> None:
        if form.startswith("#") or form in self._named:
            self.parse_properties(form, value, path)
            return
        name = form.removesuffix("-list").removesuffix("-opt")
        if form.endswith("-list"):
            for item in split_list(value):
                self._checks[name](item)
        elif value or not form.endswith("-opt"):
            self._checks[name](value)


def normalize(
    params: Mapping[str, Value], schema: Schema, properties: Mapping[str, Any]
) -> dict[str, Value]:
    """Lists for `-list` strings joined, single values for arrays wrapped (RESTHandler.pm)."""
    result: dict[str, Value] = {}
    for key, value in params.items():
        declared = schema.property_of(properties, key) or {}
        form = str(declared.get("format", ""))
        if isinstance(value, list) and declared.get("type") == "string" and form.endswith("-list"):
            result[key] = ",".join(value)
        elif isinstance(value, str) and value and declared.get("type") == "array":
            result[key] = [value]
        else:
            result[key] = value
    return result


def _route_pattern(call: str) -> re.Pattern[str]:
    def group(found: re.Match[str]) -> str:
        # a volume and a pool may hold slashes; nothing else in a path may
        body = ".+" if found[1] in {"volume", "poolid"} else "[^/]+"
        return f"(?P<{found[1]}>{body})"

    return re.compile(re.sub(r"\{(\w+)\}", group, call))


def _split_properties(
    properties: Mapping[str, Any], text: str, *, first_boolean: bool
) -> dict[str, str]:
    """Parts of a property string by key, before any check of their values."""
    values: dict[str, str] = {}
    first: str | None = None
    for part in text.split(","):
        if not part.strip():
            continue
        key, sign, value = part.partition("=")
        if sign and not (key and value):
            raise Refused("missing key in comma-separated list property")
        if sign:
            _put(properties, values, key, value)
            continue
        default = next((name for name, item in properties.items() if item.get("default_key")), None)
        if first or (default and values.get(default, "0") != "0"):
            raise Refused(f"duplicate key in comma-separated list property: {first or default}")
        if default is None:
            raise Refused("value without key, but schema does not define a default key")
        first = default
        boolean = first_boolean and properties[default].get("type") == "boolean"
        values[default] = parse_boolean(part) if boolean else part
    return values


def _put(properties: Mapping[str, Any], values: dict[str, str], key: str, value: str) -> None:
    if key in values:
        raise Refused(f"duplicate key in comma-separated list property: {key}")
    declared = properties.get(key, {})
    alias = declared.get("alias")
    if alias:
        named = declared.get("keyAlias")
        if named:
            if named in values:
                raise Refused(f"key alias '{named}' is already defined")
            values[named] = key
        if alias in values:
            raise Refused(f"key '{alias}' is already defined (via alias)")
        key, declared = alias, properties[alias]
    values[key] = parse_boolean(value) if declared.get("type") == "boolean" else value


def _type_error(kind: str | None, value: str) -> str | None:
    fits = {
        "boolean": r"[01]",
        "integer": r"[+-]?\d+\n?",
        "number": r"[+-]?(\d+\.\d+|\d+\.|\.\d+|\d+)([eE][+-]?\d+)?\n?",
    }.get(kind or "")
    if fits and not re.fullmatch(fits, value, re.ASCII):
        return f"type check ('{kind}') failed - got '{value}'"
    return None


def _limit_error(declared: Mapping[str, Any], value: str) -> str | None:
    pattern = declared.get("pattern")
    if pattern and not re.match(f"^(?:{perl_pattern(pattern)})$", value):
        return "value does not match the regex pattern"
    longest, shortest = declared.get("maxLength"), declared.get("minLength")
    if longest is not None and len(value) > longest:
        return f"value may only be {longest} characters long"
    if shortest is not None and len(value) < shortest:
        return f"value must be at least {shortest} characters long"
    if _type_error("number", value) is None:
        highest, lowest = declared.get("maximum"), declared.get("minimum")
        if highest is not None and float(value) > float(highest):
            return f"value must have a maximum value of {highest}"
        if lowest is not None and float(value) < float(lowest):
            return f"value must have a minimum value of {lowest}"
    allowed = declared.get("enum")
    if allowed is not None and value not in allowed:
        listed = ", ".join(allowed)
        return f"value '{value}' does not have a value in the enumeration '{listed}'"
    return None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _add(errors: Errors, path: str, sentence: str) -> None:
    # a second sentence for one parameter is joined by a literal \n, as the Perl source does
    errors[path] = f"{errors[path]}\\n{sentence}" if path in errors else sentence
