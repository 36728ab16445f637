# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells people and programs what the evidence ledger says of an estate. The cell of the ``notification`` module.

Nothing here writes to the ledger. A channel that takes a message is noted at once, so that one that fails has nobody
else told twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import notification_channels as ways
from ansible_collections.boringdb.ops.plugins.module_utils._core import notification_news as past
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.evidence import witness_lists
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import load_trusted
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.notification_metrics import exposition
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import STATES, Estate, read_estate
from ansible_collections.boringdb.ops.plugins.module_utils._core.report_text import headline
from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import CLUSTER

FORMAT = "urn:boringdb.ops:notification:v1"
WORDS = {"alarm": "ALARM", "still": "STILL", "recovered": "RECOVERED"}
MOST_DAYS = 36500
METRICS_MODE = 0o644  # node_exporter has an account of its own; the file holds no secret


def notify(params: Params, check_mode: bool) -> Outcome:
    """Tell what is new by every channel, and write the metrics.

    :raises Refused: before anything is told, for what can be known by then
    :raises OpsError: when a channel did not take its message, after all of them were tried
    """
    _examine(params)
    path = Path(params["memory"])
    if check_mode:
        return _tell(params, path, True)
    with host_lock(f"{path}.notification", "notification", params["lock_timeout"]):
        return _tell(params, path, False)


def _examine(params: Params) -> None:
    flight = Preflight()
    for option in ("ledger", "memory"):
        flight.require(
            Path(params[option]).is_absolute(), f"{option} {params[option]} is relative", "give the whole path"
        )
    memory = Path(params["memory"])
    flight.require(not memory.is_dir(), f"memory {memory} is a folder", "name a file")
    for name in sorted({*params["clusters"], *params["overdue"]}):
        flight.require(
            bool(CLUSTER.fullmatch(name)),
            f"{name} is no name of a cluster",
            "use what the ledger's folders can be called",
        )
    for name, days in {"overdue_days": params["overdue_days"], **params["overdue"]}.items():
        flight.require(0 < _days(days) <= MOST_DAYS, f"{name}: {days} days is no age", "give a number above 0")
    flight.require(0 <= params["remind_hours"] <= MOST_DAYS, "remind_hours is no time", "give 0 for never")
    if params["textfile"]:
        place = Path(params["textfile"])
        flight.require(
            place.suffix == ".prom", f"textfile {place} does not end in .prom", "node_exporter reads no other"
        )
        flight.require(
            place.parent.is_dir(),
            f"textfile: there is no folder {place.parent}",
            "create it, for this account to write",
        )
    flight.require(bool(params["textfile"] or params["channels"]), "nobody would be told", "give textfile or channels")
    for channel in params["channels"]:
        flight.require(0 < channel["timeout"] <= 3600, f"{channel['name']}: timeout is no time", "give seconds")
    ways.examine(params["channels"], flight)
    flight.done()


def _days(value: Any) -> float:
    """A number of days; what is none is no age."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0


def _tell(params: Params, path: Path, dry: bool) -> Outcome:
    memory, complaint = past.read_memory(path)
    memory.forget(params["forget"])
    estate = _estate(params, memory)
    outcome = Outcome(warnings=[complaint] if complaint else [])
    failures: list[str] = []
    written = _metrics(params, estate, dry, failures)
    remind = timedelta(hours=params["remind_hours"]) if params["remind_hours"] else None
    told: dict[str, list[dict[str, Any]]] = {}
    past.remember_heads(memory, estate)
    kept = not dry and _save(memory, path, failures)
    for channel in params["channels"]:
        known = memory.told.setdefault(channel["name"], {})
        events = past.news(estate, known, params["again"], remind)
        if not events:
            continue
        if not dry:
            try:
                ways.SENDERS[channel["kind"]](channel, _message(estate, events))
            except ways.Undelivered as error:
                failures.append(str(error))
                continue
            past.remember(known, events, estate.generated)
            kept = _save(memory, path, failures) or kept
        told[channel["name"]] = [past.facts(event) for event in events]
    outcome.changed = bool(told or written or kept)
    outcome.facts = {
        "headline": headline(estate),
        "told": told,
        "written": written,
        "clusters": {one.name: {"state": one.state, "problems": one.problems} for one in estate.clusters},
    }
    outcome.after = "".join(
        f"{name}: {one['event']} {one['cluster']}: {'; '.join(one['problems']) or one['state']}\n"
        for name, events in told.items()
        for one in events
    )
    if failures:
        raise OpsError(f"not everybody was told: {'; '.join(failures)}", **outcome.facts, changed=outcome.changed)
    return outcome


def _estate(params: Params, memory: past.Memory) -> Estate:
    ledger = Path(params["ledger"])
    gone = set(params["forget"])
    expected = sorted({*params["clusters"], *memory.heads, *params["overdue"]} - gone)
    if not ledger.is_dir() and not expected:
        raise OpsError(f"ledger {ledger} is not a folder: correct the path, or name the clusters that must be in it")
    witnesses = witness_lists(params["witnesses"] or {})
    for name, head in memory.heads.items():
        witnesses.setdefault(name, []).append(head)
    estate = read_estate(
        ledger,
        load_trusted(map(Path, params["public_key"])),
        title="",
        now=datetime.now(timezone.utc).replace(microsecond=0),
        overdue_days=params["overdue_days"],
        overdue={name: float(days) for name, days in params["overdue"].items()},
        expected=expected,
        witnesses=witnesses,
    )
    estate.clusters = [one for one in estate.clusters if one.name not in gone]
    return estate


def _metrics(params: Params, estate: Estate, dry: bool, failures: list[str]) -> bool:
    if not params["textfile"]:
        return False
    content, place = exposition(estate), Path(params["textfile"])
    try:
        changed = read_text(place) != content
        if changed and not dry:
            write_atomic(place, content, METRICS_MODE)
    except OSError as error:
        failures.append(f"textfile {place}: {error.strerror}")
        return False
    return changed


def _save(memory: past.Memory, path: Path, failures: list[str]) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return memory.save(path)
    except OSError as error:
        said = f"memory {path}: {error.strerror}, so the same will be told again"
        if said not in failures:
            failures.append(said)
        return False


def _message(estate: Estate, events: list[past.Event]) -> ways.Message:
    alarms = [event for event in events if event.kind != "recovered"]
    names = ", ".join(event.cluster.name for event in alarms or events)
    subject = f"{'ALARM' if alarms else 'RECOVERED'}: restore evidence of {names}"
    lines = [
        f"{WORDS[event.kind]} {event.cluster.name}: {STATES[event.cluster.state].lower()}"
        + "".join(f"\n  {problem}" for problem in event.cluster.problems)
        for event in events
    ]
    document = {
        "format": FORMAT,
        "generated": estate.generated.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "headline": headline(estate),
        "events": [past.facts(event) for event in events],
    }
    text = "\n".join([*lines, "", headline(estate)]) + "\n"
    # What an engine once said may hold what no mail can.
    return ways.Message(subject, text.encode(errors="replace").decode(), document)
