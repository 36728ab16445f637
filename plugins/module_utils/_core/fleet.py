# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One operation over many clusters: refuses what can't be, runs each cluster by itself, and adds up how they fared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import fleet_card, say
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_drills import Drill, Plan, plan_drills, slots_of
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_gate import Context, Gate, record_override
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_journal import Journal, Result
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_run import Fleet, Item, Lane
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_select import select, typed, wave_sizes, words
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import load_trusted
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import DRILL, Cluster, read_estate

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"


def conduct(params: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run it; returns what the module returns.

    :raises OpsError: before anything was begun
    """
    book = playbook(params["operation"])
    clusters = select(params["cluster"], context.groups, context.children, params["unlisted"])
    name = book.stem
    estate = _estate(params, clusters)
    planned = plan_drills(params, estate, clusters) if name == DRILL else None
    drills = [*planned.drills, *planned.spare] if planned else []
    chosen = [drill.cluster for drill in drills] if planned else clusters
    preflight = Preflight()
    _require_confirmation(name, clusters, context, preflight)
    gate = Gate(name, params, context)
    override = gate.decide(clusters, preflight)
    for option in ("parallel", "resume_hours", "drill_every_days", "drill_again_days"):
        preflight.require(params[option] > 0, f"{option} is {params[option]}", "give 1 or more")
    preflight.require(0 <= params["max_fail_percentage"] <= 100, "max_fail_percentage is none", "give 0 to 100")
    preflight.require(params["budget_seconds"] >= 0, "budget_seconds is below 0", "give 0 for no budget")
    preflight.require(not planned or bool(params["drill_hosts"]), "no drill host answers", "see to drill_hosts")
    sizes = wave_sizes(len(chosen), params["waves"])
    preflight.done()
    journal = Journal(Path(params["directory"]), _run_name(name, params, context))
    journal.open()
    try:
        about = {"operation": name, "clusters": chosen, "resume_seconds": params["resume_hours"] * 3600}
        # Which drills are left the ledger tells.
        fresh = params["fresh"] or context.check or planned is not None
        on = journal.begin({**about, "override": override}, fresh)
        began = float(journal.about()["began"])
        if override and not context.check:
            record_override(name, gate.shut, params)
        with _variables(journal, context) as given:
            items = [_drill(book, given, context, drill) for drill in drills] if planned else [
                Item(one, tuple(_argv(book, given, context, {"cluster": one}))) for one in chosen
            ]
            lanes = {host.name: Lane(host.slots, host.free_bytes) for host in slots_of(params["drill_hosts"])}
            parallel = sum(lane.slots for lane in lanes.values()) if planned else params["parallel"]
            fleet = Fleet(
                journal, list(_cut(items, sizes)), parallel, params["max_fail_percentage"],
                _gate(gate, params["budget_seconds"]), context.tell, context.environment, lanes,
            )
            _say_beginning(name, fleet, on, context)
            results = fleet.run()
        postponed = _without_time(planned, results) if planned else {}
        results = [one for one in results if one.cluster not in postponed]
        if planned:
            results += [Result(one, "left", why) for one, why in planned.impossible.items()]
        card = fleet_card.Card(
            name, _stamp(began), _stamp(time.time()), results, fleet.stopped, context.check, override,
            {one.name: fleet_card.proof(one) for one in _estate(params, clusters) if one.name in clusters},
            postponed,
        )
        journal.end(card.complete)
        paths = [str(journal.write("scorecard.md", fleet_card.markdown(card))),
                 str(journal.write("scorecard.json", fleet_card.as_json(card)))]
    finally:
        journal.close()
    return _facts(card, results, journal, paths)


def playbook(operation: str) -> Path:
    """The playbook of a word, or one of the user's own that takes `cluster`.

    :raises OpsError: where there is none
    """
    if operation.endswith((".yml", ".yaml")):
        own = Path(operation).expanduser().absolute()
        if not own.is_file():
            raise OpsError(f"refused: there is no playbook {own} (correct the path)")
        return own
    known = sorted(path.stem for path in PLAYBOOKS.glob("*.yml") if "-e cluster=" in path.read_text())
    known.remove("fleet")
    if operation not in known:
        raise OpsError(
            f"refused: {operation or 'nothing'} is no operation on a cluster (give one of {', '.join(known)}, "
            "or the path of a playbook that takes cluster)"
        )
    return PLAYBOOKS / f"{operation}.yml"


def _estate(params: Mapping[str, Any], clusters: Sequence[str]) -> list[Cluster]:
    """What the ledger says of the clusters: one that is not there yet proves none. Nothing without a key for it."""
    ledger, public = Path(params["ledger"]), list(map(Path, params["public_key"]))
    if not public or not all(one.is_file() for one in public):
        return []
    return read_estate(
        ledger, load_trusted(public), title="", now=datetime.now(timezone.utc), overdue_days=params["overdue_days"],
        expected=clusters,
    ).clusters


def _drill(book: Path, given: Path, context: Context, drill: Drill) -> Item:
    own = {"cluster": drill.cluster, "drill_host": drill.host}
    return Item(drill.cluster, tuple(_argv(book, given, context, own)), drill.host, drill.bytes, drill.seconds)


def _without_time(planned: Plan, results: Sequence[Result]) -> dict[str, str]:
    """What is for another night: it was not due, or by the plan there was no time for it and there was none."""
    spare = {drill.cluster for drill in planned.spare}
    return {**{one.cluster: one.message for one in results if one.outcome == "left" and one.cluster in spare},
            **planned.postponed}


def _gate(gate: Gate, budget_seconds: float) -> Callable[[Item], str]:
    """Whether there is time for a cluster, and whether it may be changed now."""
    until = time.monotonic() + budget_seconds

    def ask(item: Item) -> str:
        late = budget_seconds and time.monotonic() + item.seconds > until
        return f"no time is left in the budget of {say.span(budget_seconds)}" if late else gate(item.cluster)

    return ask


def _require_confirmation(operation: str, clusters: Sequence[str], context: Context, preflight: Preflight) -> None:
    """What destroys wants `confirm`: each run gets its cluster's name where all of them were confirmed together."""
    given = context.asked.get("confirm")
    wanted = f"{operation} {typed(clusters)}"
    preflight.require(given in (None, wanted), f"confirm is {given!r}", f"for these clusters type confirm='{wanted}'")


def _argv(book: Path, given: Path, context: Context, own: dict[str, Any]) -> Iterator[str]:
    yield from (sys.executable, "-m", "ansible", "playbook", str(book), *context.words, "-e", f"@{given}")
    confirmed = {"confirm": own["cluster"]} if "confirm" in context.asked else {}
    yield from ("-e", json.dumps({**own, **confirmed}))
    if context.check:
        yield "--check"


@contextlib.contextmanager
def _variables(journal: Journal, context: Context) -> Iterator[Path]:
    """What was typed, in a file that only this account reads: the command line of a process is shown to everybody."""
    path = journal.write("variables", json.dumps(dict(context.typed)))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _run_name(operation: str, params: Mapping[str, Any], context: Context) -> str:
    """The same command has the same name, however it is to be run: so many at a time, in such waves."""
    about_it = ("fleet_", "awx_", "tower_")
    given = {name: value for name, value in context.asked.items()
             if name != "cluster" and not name.startswith(about_it)}
    asked = [params["operation"], words(params["cluster"]), context.check, given]
    return f"{operation}-{hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:10]}"


def _cut(items: Sequence[Item], sizes: Sequence[int]) -> Iterator[Sequence[Item]]:
    start = 0
    for size in sizes:
        yield items[start:start + size]
        start += size


def _say_beginning(operation: str, fleet: Fleet, on: bool, context: Context) -> None:
    total = sum(map(len, fleet.waves))
    if not total:
        context.tell(f"{operation}: nothing is due")
        return
    done = sum(bool(fleet.journal.done(item.cluster)) for wave in fleet.waves for item in wave)
    sizes = " + ".join(str(len(wave)) for wave in fleet.waves[:6]) + (" + …" if len(fleet.waves) > 6 else "")
    context.tell(f"{operation} on {say.plural(total, 'cluster')}, {fleet.parallel} at a time, in waves of {sizes}; "
                 f"logs in {fleet.journal.folder}")
    if on:
        since = _stamp(float(fleet.journal.about()["began"]))
        context.tell(f"goes on with the run of {since}: {done} of {total} are done")


def _stamp(seconds: float) -> str:
    return say.iso(datetime.fromtimestamp(seconds, timezone.utc))


def _facts(
    card: fleet_card.Card, results: Sequence[Result], journal: Journal, paths: Sequence[str]
) -> dict[str, Any]:
    return {
        "changed": not card.check and any(one.changed and not one.earlier for one in results),
        "headline": fleet_card.headline(card), "scorecard": fleet_card.text(card), "fleet": fleet_card.document(card),
        "directory": str(journal.folder), "files": list(paths), "complete": card.complete,
    }
