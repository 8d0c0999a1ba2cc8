"""Findings as SARIF 2.1.0, the form that code review tools read.

Source: OASIS SARIF v2.1.0 (sections 3.13 log, 3.14 run, 3.27 result, 3.29 physicalLocation,
3.49 reportingDescriptor).
"""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from builder.answer.rules.table import Finding, Level, Rule

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.ADVICE: "note"}


def render_sarif(findings: Iterable[Finding], rules: Iterable[Rule], *, version: str) -> str:
    """A SARIF log with one run; `version` is winseed's own. Columns count characters from 1."""
    rows = list(rules)
    places = {rule.id: place for place, rule in enumerate(rows)}
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "winseed",
                        "version": version,
                        "rules": [_rule(rule) for rule in rows],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, places) for finding in findings],
            }
        ],
    }
    return json.dumps(log, indent=1)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.effect},
        "help": {"text": f"{rule.fix} Source: {rule.source}"},
        "defaultConfiguration": {"level": LEVELS[rule.level]},
    }


def _result(finding: Finding, places: dict[str, int]) -> dict[str, Any]:
    return {
        "ruleId": finding.id,
        "ruleIndex": places[finding.id],
        "level": LEVELS[finding.level],
        "message": {"text": f"{finding.what}. {finding.effect} {finding.fix}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(finding.name.replace("\\", "/"))},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                },
                "logicalLocations": [{"fullyQualifiedName": finding.path, "kind": "element"}],
            }
        ],
    }
