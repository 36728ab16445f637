# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two spellings are one value to us exactly when they are to PostgreSQL: asked for every row of pg_settings.

A round writes one spelling of every setting into the file that wins. Of a setting that only a restart changes,
pg_file_settings says whether the spelling is the current value; any other is reloaded, and pg_settings shows what was
understood.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, meaning
from postgresql_ground import Running, await_

UNITS = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40,
         "us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}  # fmt: skip
WORDS = ["on", "ON", "off", "oFF", "of", "true", "tru", "t", "TRUE", "f", "fal", "false", "yes", "y", "no", "n", "1",
         "0", "debug", "archive", "hot_standby", "pglz"]  # fmt: skip
#: What would cut the test's own branch, or ask the machine for what it does not have.
LEFT_ALONE = {"allow_alter_system", "ssl", "restart_after_crash", "log_destination", "logging_collector", "jit",
              "pre_auth_delay", "post_auth_delay", "authentication_timeout",
              "debug_parallel_query", "db_user_namespace"}  # fmt: skip
#: The engine shows these not as they were given (a least value, a session over a socket), or refuses them for what else
#: is set: to us two of their values may differ where the engine makes one of them.
OF_THEIR_OWN_MIND = {"autovacuum_work_mem", "max_stack_depth", "log_statement_stats", "log_parser_stats",
                     "log_planner_stats", "log_executor_stats", "tcp_keepalives_count", "tcp_keepalives_idle",
                     "tcp_keepalives_interval", "tcp_user_timeout"}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A row of pg_settings."""

    kind: Kind
    setting: str
    least: float
    most: float


def every_setting(running: Running) -> list[Found]:
    """Every row that a file can set."""
    text = running.server.psql(
        "SELECT json_agg(json_build_array(name, vartype, unit, enumvals, context, setting, min_val, max_val)) "
        "FROM pg_settings WHERE context <> 'internal' AND name NOT IN ('transaction_isolation', "
        "'transaction_read_only', 'transaction_deferrable', 'is_superuser', 'session_authorization', 'role', 'seed', "
        "'config_file', 'data_directory', 'hba_file', 'ident_file')"
    )
    rows = []
    for name, vartype, unit, values, context, setting, least, most in json.loads(text):
        kind = Kind(name, vartype, unit, tuple(values or ()), context)
        rows.append(Found(kind, setting or "", float(least or 0), float(most or 0)))
    return rows


def units_of(kind: Kind) -> list[str]:
    """The units that go with a setting."""
    if not kind.unit:
        return []
    family = [["B", "kB", "MB", "GB", "TB"], ["us", "ms", "s", "min", "h", "d"]]
    return next(units for units in family if any(kind.unit.endswith(unit) and unit in units for unit in units))


def base_of(kind: Kind) -> int:
    """A setting's own unit, in bytes or microseconds."""
    digits = "".join(char for char in kind.unit or "" if char.isdigit())
    return int(digits or 1) * UNITS[(kind.unit or "").lstrip("0123456789")]


def spellings(found: Found, number: int | float) -> Iterator[str]:
    """The same number, and nearly the same, in every way that comes to mind."""
    whole = found.kind.vartype == "integer"
    yield str(number)
    if whole:
        yield from (hex(int(number)), f"0{int(number):o}" if number >= 0 else f"-0{-int(number):o}", f"  {number}")
        yield from (f"+{number}" if number >= 0 else str(number), f"{number}.4", f"{number}.0", f"{number}e0")
    else:
        yield from (repr(float(number)), f"{number:e}", float(number).hex(), f"{number:.12f}")
    for unit in units_of(found.kind):
        amount = number * base_of(found.kind) / UNITS[unit]
        yield from (f"{amount:.10f}{unit}".replace("0" * 10, "0"), f"{round(amount)}{unit}", f"{round(amount)} {unit} ")
        yield from (f"{amount:.2f} {unit}", f"{round(amount)}{unit.upper()}", f"{amount * 1.3:.3f}{unit}")


def candidates(found: Found, chance: random.Random) -> list[str]:
    """Texts for a setting: its value as it is, in other words, and other values."""
    kind = found.kind
    if kind.name in LEFT_ALONE or kind.vartype == "string":
        return []
    if kind.vartype in ("bool", "enum"):
        shown = [word for value in kind.enumvals for word in (value, value.upper(), f" {value}", value + "x")]
        return [*WORDS, *shown]
    current = float(found.setting) if kind.vartype == "real" else int(found.setting)
    least, most = max(found.least, current / 8), min(found.most, current * 8 + 64)
    if kind.name.endswith("timeout") and kind.unit:
        # Long enough for the session that asks; 0 is for ever.
        least, most = min(3600 * 10**6 / base_of(kind), found.most / 2), found.most
    real = kind.vartype == "real"
    other: int | float = chance.uniform(least, most) if real else chance.randint(int(least), int(most))
    numbers = [current, current] if kind.context == "postmaster" else [current, other]
    texts = [text for number in numbers for text in spellings(found, number)]
    return [*texts, "x", "", "1 x", "08", "1kb", "1e400", "nan", "0x", "-"]


@dataclass
class Answer:
    """What PostgreSQL makes of one spelling: not taken at all, or a value in its own words."""

    taken: bool
    value: str = ""


def ask(running: Running, texts: dict[str, str], everything: dict[str, Found]) -> dict[str, Answer]:
    """One round: a spelling for each of some settings."""
    server = running.server
    (server.data_dir / "postgresql.auto.conf").write_text(conf.render(texts, "a round"), encoding="utf-8")
    query = "SELECT json_object_agg(name, error) FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf'"
    errors: dict[str, str | None] = json.loads(server.psql(query))
    taken = {name: text for name, text in texts.items() if errors[name] is None}
    # What is not taken must not keep the rest from being loaded.
    reloadable = {name: text for name, text in taken.items() if not everything[name].kind.needs_restart}
    (server.data_dir / "postgresql.auto.conf").write_text(conf.render(reloadable, "a round"), encoding="utf-8")
    before = server.psql("SELECT pg_conf_load_time()")
    server.psql("SELECT pg_reload_conf()")
    await_(lambda: server.psql("SELECT pg_conf_load_time()") != before, what="the reload")
    shown = json.loads(server.psql("SELECT json_object_agg(name, setting) FROM pg_settings"))
    return {name: Answer(name in taken, shown[name]) for name in texts}


def test_every_setting_is_read_as_postgresql_reads_it(running: Running) -> None:
    chance = random.Random(18)
    everything = {found.kind.name: found for found in every_setting(running)}
    tables = {name: candidates(found, chance) for name, found in everything.items()}
    answers: dict[str, list[tuple[str, Answer]]] = {name: [] for name in everything}
    try:
        for turn in range(max(map(len, tables.values()))):
            texts = {name: table[turn] for name, table in tables.items() if turn < len(table)}
            for name, answer in ask(running, texts, everything).items():
                answers[name].append((texts[name], answer))
    finally:
        (running.server.data_dir / "postgresql.auto.conf").write_text("")
        running.server.psql("SELECT pg_reload_conf()")
    wrong: list[Any] = []
    pairs = 0
    for name, asked in answers.items():
        found = everything[name]
        now = meaning(found.setting, found.kind)
        readings: dict[Any, set[str]] = {}
        for text, answer in asked:
            ours = meaning(text, found.kind)
            pairs += 1
            if found.kind.needs_restart:
                # Taken only as the current value: nothing else can be had without a restart.
                if answer.taken != (ours == now):
                    wrong.append((name, text, answer, ours, now))
            elif answer.taken:
                readings.setdefault(ours, set()).add(answer.value)
                if ours[0] == "text":
                    wrong.append((name, text, answer, "not understood"))
            elif ours[0] in ("bool", "integer", "real") and within(found, ours[1]) and name not in OF_THEIR_OWN_MIND:
                wrong.append((name, text, "is refused, and was understood as", ours))
        several = {ours: values for ours, values in readings.items() if len(values) > 1}
        values = [value for each in readings.values() for value in each]
        if name in OF_THEIR_OWN_MIND:
            continue
        if several or (len(set(values)) < len(readings) and found.kind.vartype != "real"):
            wrong.append((name, readings))
    assert not wrong, "\n".join(map(str, wrong[:30]))
    # Able to fail only where something was asked.
    assert len([1 for asked in answers.values() if any(answer.taken for _text, answer in asked)]) > 250, len(answers)
    assert pairs > 5000


def within(found: Found, value: Any) -> bool:
    """Whether a number lies between the setting's bounds; a truth always does."""
    return isinstance(value, bool) or found.least <= value <= found.most
