# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of one operation: an in-toto Statement v1, checked as a whole before it is signed.

``prepare`` turns what a caller gives into subjects and a predicate; ``problems`` says everything that is wrong
with a statement at once, and serves the writer and the verifier alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import VERDICTS, Check, verdict
from ansible_collections.boringdb.ops.plugins.module_utils._core.controls import supported
from ansible_collections.boringdb.ops.plugins.module_utils._core.secrets_guard import redact, secret_places

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:boringdb.ops:operation:v1"

# Operations whose record is about another record: the one subject is that record's file, by its digest.
FOLLOW_UPS = ("approval", "corrective_action")

RECORD_KEYS = (
    "operation", "cluster", "engine", "versions", "operator", "started", "finished", "objectives", "measurements",
    "checks", "verdict", "error", "controls", "approval", "corrective_action", "subjects",
)
PREDICATE_KEYS = (*(key for key in RECORD_KEYS if key != "subjects"), "sequence", "previous")
RESERVED_CLUSTERS = ("keys",)  # a folder of this name holds the public keys

CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OPERATION = re.compile(r"[a-z][a-z0-9_]{0,63}")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)")
TEXT_LIMIT = 500  # characters: a measurement is a fact, not a document
PROSE_LIMIT = 4000


def parse_time(value: str) -> datetime:
    """An RFC 3339 time in UTC, aware.

    :raises ValueError: for anything else
    """
    if not isinstance(value, str) or not TIME.fullmatch(value):
        raise ValueError(f"{value!r} is not an RFC 3339 time in UTC such as 2026-01-31T03:15:00Z")
    base, _dot, fraction = value.replace("+00:00", "").rstrip("Z").partition(".")
    parsed = datetime.strptime(base, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return parsed.replace(microsecond=int(fraction.ljust(6, "0"))) if fraction else parsed


def prepare(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its defaults filled, numbers as numbers, prose redacted and the verdict derived.

    Never raises for what a caller got wrong: that is left in place for :func:`problems` to name.
    """
    result: dict[str, Any] = {key: record.get(key) for key in RECORD_KEYS}
    result.update({key: value for key, value in record.items() if key not in RECORD_KEYS})
    result["operator"] = record.get("operator") or {}
    result["versions"] = record.get("versions") or {}
    result["objectives"] = _numbers(record.get("objectives") or {})
    result["measurements"] = _numbers(record.get("measurements") or {})
    if record.get("controls") is None:
        result["controls"] = supported(str(record.get("operation")))
    for key in ("started", "finished"):
        # An unquoted time in YAML arrives with a space and an offset.
        if isinstance(result[key], str) and TIME.fullmatch(result[key].replace(" ", "T", 1)):
            result[key] = result[key].replace(" ", "T", 1).replace("+00:00", "Z")
    for key in ("error", "corrective_action"):
        result[key] = redact(result[key]) or None if isinstance(result[key], str) else result[key]
    if isinstance(result["corrective_action"], dict):
        said = result["corrective_action"].items()
        result["corrective_action"] = {key: redact(text) if isinstance(text, str) else text for key, text in said}
    try:
        checks = [Check.from_dict(check).to_dict() for check in record.get("checks") or []]
    except (TypeError, ValueError):
        return result
    result["checks"] = [{**check, "message": redact(check["message"])} for check in checks]
    if result["verdict"] is None:
        result["verdict"] = verdict(checks, result["error"])
    return result


def build(record: Mapping[str, Any], sequence: int, previous: str | None) -> dict[str, Any]:
    """The statement over a prepared record at its place in the chain."""
    predicate = {key: value for key, value in record.items() if key != "subjects"}
    return {
        "_type": STATEMENT_TYPE,
        "subject": record.get("subjects"),
        "predicateType": PREDICATE_TYPE,
        "predicate": {**predicate, "sequence": sequence, "previous": previous},
    }


def problems(statement: Any) -> list[str]:
    """Everything that is wrong with a statement, one line each; empty when it is sound."""
    if not isinstance(statement, dict):
        return ["the payload is not a JSON object"]
    found = []
    for key, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if statement.get(key) != expected:
            found.append(f"{key} is {statement.get(key)!r}, expected {expected!r}")
    found += _subject_problems(statement.get("subject"))
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict):
        return [*found, "predicate is missing"]
    missing = [key for key in PREDICATE_KEYS if key not in predicate]
    unknown = sorted(set(predicate) - set(PREDICATE_KEYS))
    found += [f"{key} is missing" for key in missing] + [f"{key} is not a field of a record" for key in unknown]
    if not missing:
        found += _predicate_problems(predicate)
        found += _follow_up_problems(statement.get("subject"), predicate)
    return found


def secrets_in(record: Mapping[str, Any]) -> list[str]:
    """Places in a prepared record that look like a secret. The writer refuses these; they never get signed."""
    facts = ("measurements", "checks", "objectives", "versions", "operator", "subjects", "approval")
    return [place for key in facts for place in secret_places(record.get(key), key)]


def _numbers(values: Any) -> Any:
    """Templating may hand over numbers as text: what is named in seconds or bytes is made a number again."""
    if not isinstance(values, dict):
        return values
    result = dict(values)
    for name, value in values.items():
        if isinstance(value, str) and str(name).endswith(("_seconds", "_bytes")):
            try:
                number = float(value)
            except ValueError:
                continue
            result[name] = int(number) if number.is_integer() and "." not in value else number
    return result


def _subject_problems(subjects: Any) -> Iterator[str]:
    if not isinstance(subjects, list) or not subjects:
        yield "subjects must list at least one {name, digest: {sha256}}"
        return
    for index, subject in enumerate(subjects):
        digest = subject.get("digest") if isinstance(subject, dict) else None
        if not isinstance(digest, dict) or not isinstance(subject.get("name"), str) or not subject["name"]:
            yield f"subjects[{index}] must be {{name, digest: {{sha256}}}}"
        elif not DIGEST.fullmatch(str(digest.get("sha256"))):
            yield f"subjects[{index}] ({subject['name']}): sha256 must be 64 lower-case hexadecimal digits"


def _predicate_problems(predicate: Mapping[str, Any]) -> Iterator[str]:
    for key, pattern in (("operation", OPERATION), ("cluster", CLUSTER)):
        if not isinstance(predicate[key], str) or not pattern.fullmatch(predicate[key]):
            yield f"{key} is {predicate[key]!r}, expected text that matches {pattern.pattern}"
    if predicate["cluster"] in RESERVED_CLUSTERS:
        yield f"cluster {predicate['cluster']!r} is a reserved name in a ledger"
    if not isinstance(predicate["engine"], str) or not predicate["engine"]:
        yield "engine must be text, for example postgresql"
    if not isinstance(predicate["operator"], dict) or not predicate["operator"].get("user"):
        yield "operator must be a dictionary with a user"
    for key in ("versions", "objectives", "measurements"):
        if not isinstance(predicate[key], dict):
            yield f"{key} must be a dictionary"
    yield from _time_problems(predicate)
    yield from _value_problems(predicate)
    yield from _check_problems(predicate)
    yield from _prose_problems(predicate)
    if not _is_int(predicate["sequence"]) or predicate["sequence"] < 1:
        yield "sequence must be a whole number from 1"
    if predicate["previous"] is not None and not DIGEST.fullmatch(str(predicate["previous"])):
        yield "previous must be a sha256 or null"


def _prose_problems(predicate: Mapping[str, Any]) -> Iterator[str]:
    controls = predicate["controls"]
    if not isinstance(controls, list) or not all(isinstance(control, str) for control in controls):
        yield "controls must be a list of text"
    error = predicate["error"]
    if error is not None and (not isinstance(error, str) or len(error) > PROSE_LIMIT):
        yield f"error must be text of at most {PROSE_LIMIT} characters, or null"
    for key in FOLLOW_UPS:
        value = predicate[key]
        if value is not None and (not isinstance(value, (str, dict)) or len(str(value)) > PROSE_LIMIT):
            yield f"{key} must be text or a dictionary, of at most {PROSE_LIMIT} characters, or null"


def _follow_up_problems(subjects: Any, predicate: Mapping[str, Any]) -> Iterator[str]:
    operation = predicate["operation"]
    if operation in FOLLOW_UPS:
        if not isinstance(subjects, list) or len(subjects) != 1:
            yield "a record that follows another has one subject, the file of that record"
        said = predicate[operation]
        if not isinstance(said, dict) or not said.get("by"):
            yield f"{operation} must be a dictionary with by, who says it"


def _time_problems(predicate: Mapping[str, Any]) -> Iterator[str]:
    times = []
    for key in ("started", "finished"):
        try:
            times.append(parse_time(predicate[key]))
        except ValueError as error:
            yield f"{key}: {error}"
    if len(times) == 2 and times[1] < times[0]:
        yield f"finished ({predicate['finished']}) lies before started ({predicate['started']})"


def _value_problems(predicate: Mapping[str, Any]) -> Iterator[str]:
    for group in ("objectives", "measurements"):
        for name, value in predicate[group].items() if isinstance(predicate[group], dict) else ():
            if not NAME.fullmatch(str(name)):
                yield f"{group}: {name!r} is no name, expected text that matches {NAME.pattern}"
            numeric = group == "objectives" or str(name).endswith(("_seconds", "_bytes"))
            if numeric and value is not None and not _is_number(value):
                yield f"{group}.{name} is {value!r}, expected a number"
            elif not _is_scalar(value):
                yield f"{group}.{name} must be one number, truth value or text of at most {TEXT_LIMIT} characters"


def _check_problems(predicate: Mapping[str, Any]) -> Iterator[str]:
    checks = predicate["checks"]
    if not isinstance(checks, list):
        yield "checks must be a list"
        return
    good: list[Check] = []
    for index, item in enumerate(checks):
        try:
            check = Check.from_dict(item)
        except (TypeError, ValueError, AttributeError) as error:
            yield f"checks[{index}]: {error}"
            continue
        good.append(check)
        if not all(map(_is_scalar, (check.expected, check.actual, check.seconds))) or len(check.message) > PROSE_LIMIT:
            yield f"check {check.name}: expected, actual and seconds must be one short value each"
    names = [check.name for check in good]
    yield from (f"check {name} appears twice" for name in sorted({n for n in names if names.count(n) > 1}))
    if predicate["verdict"] not in VERDICTS:
        yield f"verdict is {predicate['verdict']!r}, expected one of {', '.join(VERDICTS)}"
    elif len(good) == len(checks) and predicate["verdict"] != verdict(good, predicate["error"]):
        yield f"verdict is {predicate['verdict']}, but the checks say {verdict(good, predicate['error'])}"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= TEXT_LIMIT
    return value is None or isinstance(value, bool) or _is_number(value)
