# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be so before a switchover begins, as named checks. All of them are asked; each that fails has a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Reason, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_plan import Facts, Members
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.synchronous import Quorum, parse

#: A promotion begins one, and what clients write then goes on.
_SEGMENTS = 4


class Asked:
    """The checks so far, and why those that failed did."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.reasons: list[Reason] = []

    def ask(self, name: str, good: bool, what: str, remedy: str, found: tuple[Any, Any] = (None, None)) -> None:
        """One check; `what` is wrong where it is not good, and `found` is what was expected and what was there."""
        expected, actual = found
        if good:
            self.checks.append(passed(name, expected=expected, actual=actual))
            return
        self.checks.append(failed(name, expected=expected, actual=actual, message=f"{what} ({remedy})"))
        self.reasons.append(Reason(what, remedy))

    def done(self) -> list[dict[str, Any]]:
        """The checks as a module returns them. Raises Refused, with them all, where any has failed."""
        told = [check.to_dict() for check in self.checks]
        if self.reasons:
            refused = Refused(self.reasons)
            refused.facts = {"checks": told}
            raise refused
        return told


def preflight(members: Members, old: str, candidate: str, params: Params) -> list[dict[str, Any]]:
    """Ask everything. Raises Refused with every reason at once."""
    asked = Asked()
    ask_all(asked, members, old, candidate, params)
    return asked.done()


def ask_all(asked: Asked, members: Members, old: str, candidate: str, params: Params) -> None:
    """Ask everything; a manager of servers has questions of its own beside these."""
    primary, chosen = members[old], members[candidate]
    running = [name for name, facts in members.items() if facts.get("state") != "running"]
    asked.ask("members_run", not running, f"{', '.join(running)} does not run", "start it, or take it out of the group")
    identities = {facts.get("system_identifier") for facts in members.values()}
    asked.ask("same_cluster", len(identities) == 1, "not all members are of one cluster", "take the stranger out of it")
    if chosen.get("state") == "running":
        # The old primary's is not asked for: leaving a full disk is a reason to switch over.
        room(asked, candidate, chosen)
        _candidate(asked, primary, chosen, candidate, params)
    _fits(asked, members, old, candidate)
    _following(asked, members, candidate, params)
    _primary(asked, members, old, candidate, params)
    _archive(asked, primary, chosen, candidate, params)
    _synchronous(asked, primary, old)
    if params["poolers"]:
        _poolers(asked, params, old)


def _candidate(asked: Asked, primary: Facts, chosen: Facts, candidate: str, params: Params) -> None:
    upstream = chosen.get("upstream") or {}
    sender = _sender(primary, params["slots"].get(candidate, candidate), upstream.get("slot"))
    state = sender.get("state", "not connected")
    asked.ask(
        "candidate_streams", upstream.get("status") == "streaming" and state == "streaming",
        f"{candidate} does not stream from the primary (there it is {state})",
        "run provision, or have it follow the primary itself", ("streaming", state),
    )  # fmt: skip
    asked.ask(
        "same_timeline", chosen.get("timeline") == primary.get("timeline"),
        f"{candidate} is on timeline {chosen.get('timeline')}, the primary on {primary.get('timeline')}",
        "clone it anew", (primary.get("timeline"), chosen.get("timeline")),
    )  # fmt: skip
    lag, most = sender.get("lag_bytes"), params["max_lag_bytes"]
    asked.ask(
        "lag", lag is not None and lag <= most, f"{candidate} is {'?' if lag is None else lag} bytes behind",
        f"wait until it is {most} or less", (most, lag),
    )  # fmt: skip
    delay = chosen.get("apply_delay_seconds") or 0
    asked.ask(
        "replays_at_once", not delay and not chosen.get("replay_paused"),
        f"{candidate} " + (f"applies with a delay of {delay:g} s" if delay else "has its replay paused"),
        "choose another one, or have it apply at once",
    )  # fmt: skip
    asked.ask(
        "takes_writes", not chosen.get("read_only"), f"default_transaction_read_only is on for {candidate}",
        "turn it off there",
    )  # fmt: skip


def room(asked: Asked, candidate: str, chosen: Facts, segments: int = _SEGMENTS) -> None:
    """One that can't write when it is promoted ends then."""
    free = chosen.get("free_bytes")
    needed = segments * int(chosen.get("segment_bytes") or 0)
    asked.ask(
        "room", free is None or free >= needed, f"{candidate} has {(free or 0) >> 20} MB free for its data or its WAL",
        f"make room there, for {needed >> 20} MB or more", (needed, free),
    )  # fmt: skip


def _sender(primary: Facts, name: str, slot: Any) -> Facts:
    """What the primary says of the candidate: it is known by its slot, or by its name where it has none."""
    senders: Sequence[Facts] = primary.get("senders") or []
    by_slot = [one for one in senders if slot and one["slot"] == slot]
    by_name = [one for one in senders if one["name"] == name]
    return next(iter(by_slot or by_name), {})


def _fits(asked: Asked, members: Members, old: str, candidate: str) -> None:
    """Everybody else is to be its replica, and a replica with less than its primary does not start."""
    floor = members[candidate].get("standby_minimum") or {}
    less = []
    for name, facts in members.items():
        # The old primary starts anew, with what awaits that.
        key = "standby_minimum_new" if name == old else "standby_minimum"
        own = facts.get(key) or {}
        less += [
            f"{word} of {name} is {own[word]}" for word in sorted(floor) if own.get(word, floor[word]) < floor[word]
        ]
        if name == candidate:
            theirs = members[old].get("standby_minimum") or {}
            less += [
                f"{word} of {name} is {own[word]}"
                for word in sorted(theirs)
                if own.get(word, theirs[word]) < theirs[word]
            ]
    asked.ask(
        "settings_fit", not less, f"{', '.join(less)}: less than another member needs",
        "declare the same for all, then restart",
    )  # fmt: skip
    needed = len(members) - 1
    free = members[candidate].get("slots_free")
    there = {one["name"] for one in members[candidate].get("slots") or []}
    missing = max(0, needed - len(there))
    asked.ask(
        "slots_fit", free is None or free >= missing,
        f"{candidate} has room for {free} more slots, and {missing} are needed",
        "raise max_replication_slots there", (missing, free),
    )  # fmt: skip


def _following(asked: Asked, members: Members, candidate: str, params: Params) -> None:
    refused = [f"{name}: {said}" for name, said in params["not_admitted"].items()]
    asked.ask(
        "members_admitted", not refused, f"{candidate} does not let in who is to follow it: {'; '.join(refused)}",
        "set postgresql_replication_password, and see the candidate's pg_hba.conf",
    )  # fmt: skip
    lost = [name for name in members if name != candidate and not _leads_to(name, candidate, params["upstreams"])]
    asked.ask(
        "chain", not lost, f"{', '.join(lost)} would follow a chain that does not end at {candidate}",
        "correct replica_upstream",
    )  # fmt: skip


def _leads_to(name: str, candidate: str, upstreams: Mapping[str, str]) -> bool:
    for _step in upstreams:
        name = upstreams.get(name, candidate)
        if name == candidate:
            return True
    return not upstreams


def _primary(asked: Asked, members: Members, old: str, candidate: str, params: Params) -> None:
    primary, chosen = members[old], members[candidate]
    prepared = primary.get("prepared") or 0
    asked.ask(
        "prepared_transactions", not prepared, f"{old} has {prepared} prepared transactions",
        "commit or roll them back: pg_prepared_xacts", (0, prepared),
    )  # fmt: skip
    old_ones = primary.get("old_transactions") or []
    told = ", ".join(f"pid {one['pid']} of {one['account']} since {one['seconds']:.0f} s" for one in old_ones)
    asked.ask(
        "old_transactions", not old_ones, f"transactions are older than {params['transaction_seconds']:g} s: {told}",
        "wait for them or end them; those that are left are cut off", (0, len(old_ones)),
    )  # fmt: skip
    synced = {one["name"] for one in chosen.get("logical_slots") or [] if one.get("synced")}
    slots = [one["name"] for one in primary.get("logical_slots") or []]
    lost = [name for name in slots if name not in synced and name not in params["leave_logical_slots"]]
    asked.ask(
        "logical_slots", not lost, f"logical slots are not on {candidate}, their consumers stop: {', '.join(lost)}",
        "name each that may stop in switchover_leave_logical_slots, or make it a failover slot (17 and later)",
        (0, len(lost)),
    )  # fmt: skip
    backups = primary.get("backups") or []
    asked.ask(
        "no_backup", not backups, f"a backup is being taken from {old}: {', '.join(backups)}", "wait for its end",
        (0, len(backups)),
    )  # fmt: skip


def _archive(asked: Asked, primary: Facts, chosen: Facts, candidate: str, params: Params) -> None:
    waiting, most = primary.get("archive_waiting") or 0, params["max_archive_backlog"]
    failing = bool((primary.get("archiver") or {}).get("failing")) and primary.get("archiving")
    asked.ask(
        "archive_backlog", waiting <= most and not failing,
        "archiving fails" if failing else f"{waiting} segments wait to be archived",
        "see pg_stat_archiver and the server's log" if failing else f"wait until it is {most} or less", (most, waiting),
    )  # fmt: skip
    lacks = bool(primary.get("archiving")) and not chosen.get("archiving")
    asked.ask(
        "candidate_archives", not lacks, f"{candidate} would not archive what it writes, and the primary does",
        "declare archive_mode and archive_command for both: run provision",
    )  # fmt: skip


def _synchronous(asked: Asked, primary: Facts, old: str) -> None:
    names = str(primary.get("synchronous_names") or "")
    asked.ask(
        "synchronous", not names.strip() or parse(names) is not None,
        f"synchronous_standby_names of {old} can't be read: {names}", "correct it",
    )  # fmt: skip


def _poolers(asked: Asked, params: Params, old: str) -> None:
    poolers: Sequence[Facts] = params["poolers"]
    silent = [f"{_place(one)}: {one['problem']}" for one in poolers if one.get("problem")]
    asked.ask(
        "poolers_answer", not silent, f"poolers do not answer: {'; '.join(silent)}",
        "start them: playbook pool; where there are none, leave switchover_pool_hosts empty",
    )  # fmt: skip
    told = [one for one in poolers if not one.get("problem")]
    databases = belonging(told, params, old)
    uneven = [
        f"{_place(one)} does not send {name} to the primary"
        for one in told
        for name in databases
        if name not in belonging([one], params, old)
    ]
    nowhere = bool(told) and not databases
    asked.ask(
        "pooler_routes", not uneven and not nowhere,
        "no database of the poolers goes to the primary" if nowhere else f"the poolers differ: {', '.join(uneven)}",
        "run the playbook pool", (None, len(databases)),
    )  # fmt: skip
    sessions = sorted(
        {f"{name} of {_place(one)}" for one in told for name in _in_session_mode(one) if name in databases}
    )
    asked.ask(
        "pool_mode", not sessions,
        f"a pause would wait until every client is gone: {', '.join(sessions)} is in session mode",
        "set pool_mode to transaction",
    )  # fmt: skip


def _place(pooler: Facts) -> str:
    return f"{pooler['host']}:{pooler['port']}"


def _in_session_mode(pooler: Facts) -> list[str]:
    usual = (pooler.get("config") or {}).get("pool_mode", "")
    databases = pooler.get("databases") or {}
    return [name for name, row in databases.items() if (row.get("pool_mode") or usual) == "session"]


def belonging(poolers: Sequence[Facts], params: Params, old: str) -> list[str]:
    """The databases whose clients belong to the primary: those at it, and those declared for it, wherever they go.

    A pooler that was started anew in the middle of an earlier run has read where they were to go.
    """
    places: Mapping[str, Facts] = params["addresses"]
    # Where poolers declare the same name differently, each is left where it is.
    declared = set(params["primary_databases"]) - set(params["placed_databases"])
    found = set(routed(poolers, places.get(old) or {}))
    for place in places.values():
        found.update(name for name in routed(poolers, place) if name in declared)
    return sorted(found)


def routed(poolers: Sequence[Facts], place: Facts, paused: bool = False) -> list[str]:
    """The databases of the poolers that go to a server; with `paused`, only those that are held there."""
    return sorted(
        {
            name
            for pooler in poolers
            for name, row in (pooler.get("databases") or {}).items()
            if place
            and (row.get("host"), int(row.get("port") or 0)) == (str(place["host"]), int(place["port"]))
            and (not paused or row.get("paused") not in (None, "", "0"))
        }
    )


def swapped(names: str, leaving: str, coming: str) -> Quorum | None:
    """For which standbys the new primary's commits wait: the old ones, with the old primary in the place of the new."""
    quorum = parse(names)
    if quorum is None:
        return None
    names_now = (coming if name == leaving else name for name in quorum.names)
    return Quorum(quorum.method, quorum.number, tuple(dict.fromkeys(names_now)))
