# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own questions: invariants, canaries, the heartbeat, and objects that must always be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.query_answer import (
    answer,
    asking,
    digest,
    query_digest,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import one_line
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Report, Subject, few

try:
    import psycopg
except ImportError:
    psycopg = None

_SHOWN = 80

# to_reg* read a quoted name as SQL does, and answer NULL for what is not there.
_EXISTS = {
    "schemas": "SELECT to_regnamespace(%s) IS NOT NULL",
    "relations": "SELECT to_regclass(%s) IS NOT NULL",
    "functions": "SELECT to_regprocedure(%s) IS NOT NULL",
    "extensions": "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = %s)",
}
_GLOBAL = {
    "roles": "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s)",
    "databases": "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %s)",
}
_PRIVILEGE = {
    kind: f"SELECT has_{kind}_privilege(%s, %s, %s)" for kind in ("table", "sequence", "function", "schema", "database")
}


def own_names(params: Mapping[str, Any]) -> list[str]:
    """The names of the checks that the options add. Refuses a name that is given twice."""
    names = [f"invariant:{item['name']}" for item in params["invariants"] or []]
    names += [f"canary:{item['name']}" for item in params["canaries"] or []]
    preflight = Preflight()
    twice = sorted({name for name in names if names.count(name) > 1})
    preflight.require(not twice, f"named more than once: {', '.join(twice)}", "give each its own name")
    preflight.done()
    return names


def _text(value: Any) -> str:
    """One value as PostgreSQL writes it in COPY."""
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    return str(value)


def expected_text(expected: Any) -> str:
    """A value, a list of values (rows of one column) or a list of lists, as COPY writes them."""
    rows = expected if isinstance(expected, list) else [expected]
    return "\n".join("\t".join(map(_text, row)) if isinstance(row, list) else _text(row) for row in rows)


def _shown(text: str) -> str:
    """A single value, shortened; of more than that only how much it is."""
    if "\n" in text or "\t" in text:
        return f"{len(text.splitlines())} rows, sha256 {digest(text.encode())[:12]}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def report_invariants(subject: Subject, report: Report) -> None:
    """Each invariant's answer is the expected one."""
    for item in subject.params["invariants"] or []:
        report.begin()
        name = f"invariant:{item['name']}"
        expected = expected_text(item["expected"])
        try:
            with asking(subject.server, item["database"], subject.params["timeout"]) as connection:
                actual = answer(connection, item["query"]).decode().removesuffix("\n")
        except OpsError as exc:
            report.add("failed", name, expected=_shown(expected), message=f"the query did not run: {exc}")
            continue
        good = actual == expected
        message = "" if good else f"in {item['database']}: the answer is not the expected one"
        report.judge(name, good, expected=_shown(expected), actual=_shown(actual), message=message)


def report_canaries(subject: Subject, report: Report) -> None:
    """Each canary's answer has the digest that was given, or that the manifest holds. Answers are not shown."""
    recorded = {item["name"]: item for item in (subject.manifest or {}).get("canaries", [])}
    for item in subject.params["canaries"] or []:
        report.begin()
        name = f"canary:{item['name']}"
        expected = item.get("sha256")
        if not expected:
            known = recorded.get(item["name"])
            if known is None:
                why = subject.no_manifest or "the manifest holds no canary of that name"
                report.skip(name, f"nothing to compare with: {why}", required=True)
                continue
            if known["query_sha256"] != query_digest(item["query"]) or known["database"] != item["database"]:
                report.skip(name, "the manifest's canary of that name asked something else", required=True)
                continue
            expected = known["sha256"]
        try:
            with asking(subject.server, item["database"], subject.params["timeout"]) as connection:
                actual = digest(answer(connection, item["query"]))
        except OpsError as exc:
            report.add("failed", name, expected=expected, message=f"the query did not run: {exc}")
            continue
        good = actual == expected.lower()
        message = "" if good else f"in {item['database']}: the answer is another one"
        report.judge(name, good, expected=expected, actual=actual, message=message)


def report_heartbeat(subject: Subject, report: Report) -> None:
    """The newest heartbeat is not older than allowed, counted back from the moment that was restored to."""
    name = "heartbeat"
    wanted = subject.params["heartbeat"]
    report.begin()
    if not wanted:
        report.skip(name, "not configured")
        return
    limit = wanted["max_age_seconds"]
    reference = wanted.get("reference_time") or subject.params["reached_time"]
    expected = f"at most {limit:g} s old"
    try:
        with asking(subject.server, wanted["database"], subject.params["timeout"]) as connection:
            beat = answer(connection, wanted["query"]).decode().strip()
            if beat in ("", "\\N"):
                report.add("failed", name, expected=expected, actual="none", message="there is no heartbeat")
                return
            age = connection.execute(
                "SELECT extract(epoch FROM coalesce(%s::timestamptz, now()) - %s::timestamptz)::float8",
                (reference or None, beat),
            ).fetchone()[0]
    except OpsError as exc:
        report.add("failed", name, expected=expected, message=f"the query did not run: {exc}")
        return
    since = f"before {reference}" if reference else "ago"
    report.judge(
        name, age <= limit, expected=expected, actual=f"{age:.3f} s old",
        message=f"the newest heartbeat is of {age:.1f} s {since}",
    )  # fmt: skip


def report_expected_objects(subject: Subject, report: Report) -> None:
    """What the user says must always be there, is there."""
    name = "expected_objects"
    wanted: Mapping[str, Any] = subject.params["expected_objects"] or {}
    report.begin()
    asked: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    default = subject.server.login_db
    for kind, query in _GLOBAL.items():
        for item in wanted.get(kind) or []:
            asked.setdefault(default, []).append((f"{kind[:-1]} {item}", query, (item,)))
    for kind, query in _EXISTS.items():
        for item in wanted.get(kind) or []:
            line = f"{item['database']}: {kind[:-1]} {item['name']}"
            asked.setdefault(item["database"], []).append((line, query, (item["name"],)))
    for item in wanted.get("grants") or []:
        line = f"{item['database']}: {item['privilege']} on {item['type']} {item['name']} for {item['role']}"
        values = (item["role"], item["name"], item["privilege"])
        asked.setdefault(item["database"], []).append((line, _PRIVILEGE[item["type"]], values))
    total = sum(map(len, asked.values()))
    if not total:
        report.skip(name, "none declared")
        return
    missing = [line for database, questions in asked.items() for line in _missing(subject, database, questions)]
    report.judge(
        name, not missing, expected=f"{total} objects", actual=f"{total - len(missing)} there",
        message=f"missing: {few(missing)}" if missing else "",
    )  # fmt: skip


def _missing(subject: Subject, database: str, questions: list[tuple[str, str, tuple[str, ...]]]) -> list[str]:
    """Those of one database's questions that the answer is no to; all of them where the database cannot be entered."""
    missing = []
    try:
        with asking(subject.server, database, subject.params["timeout"]) as connection:
            for line, query, values in questions:
                try:
                    row = connection.execute(query, values).fetchone()
                except psycopg.Error as exc:  # has_*_privilege raises where the role or the object is missing
                    missing.append(f"{line} ({one_line(exc)})")
                    continue
                if not row[0]:
                    missing.append(line)
    except OpsError as exc:
        return [f"{line} ({exc})" for line, _query, _values in questions]
    return missing
