# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be so before a member is promoted in the place of a primary that is gone, as named checks, asked all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import failover_loss, lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_plan import Facts, Members
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_checks import Asked, room, routed

#: How a server that is gone is kept from coming back, the strongest first.
FENCES = ("ssh", "command", "accepted")
#: The one that a promotion begins, and the next: less than where there is a choice.
_SEGMENTS = 2


def fences(members: Members, old: str, params: Params) -> list[str]:
    """What there is to fence the old primary with."""
    answers = members[old].get("state") not in {None, "unseen"}
    found = {"ssh": answers, "command": params["fence_command"], "accepted": params["unfenced_ok"] == old}
    return [name for name in FENCES if found[name]]


def preflight(members: Members, old: str, new: str, params: Params, loss: Facts) -> list[dict[str, Any]]:
    """Ask everything. Raises Refused with every reason at once."""
    asked = Asked()
    ways = fences(members, old, params)
    gone(asked, members, old, params, bool({"ssh", "command"} & set(ways)))
    managers = [f"{facts['manager']} of {name}" for name, facts in members.items() if facts.get("manager")]
    asked.ask("no_manager", not managers, f"{', '.join(managers)} is in charge", "have it fail over")
    candidate(asked, members, new, params["accept_loss"])
    fence(asked, old, ways, params, "the host of {} does not answer, so its server can't be stopped")
    loss_and_poolers(asked, old, params, loss)
    return asked.done()


def fence(asked: Asked, old: str, ways: Sequence[str], params: Params, why: str) -> None:
    """Something has to keep the old primary from taking writes again."""
    typed = params["unfenced_ok"]
    asked.ask(
        "fence", bool(ways) and typed in {"", old},
        f"failover_unfenced_ok names {typed}, and {old} is the primary that is gone" if typed not in {"", old} else
        f"{why.format(old)}; it may come back and take writes",
        "set failover_fence_command, or type failover_unfenced_ok="
        f"{old} when its host is off and stays off", (", ".join(FENCES), ", ".join(ways)),
    )  # fmt: skip


def loss_and_poolers(asked: Asked, old: str, params: Params, loss: Facts) -> None:
    """What is lost may be, and no pooler is silent."""
    seconds = loss["seconds"]
    typed_bound = failover_loss.UNKNOWN if seconds == failover_loss.UNKNOWN else f"{-(-float(seconds) // 1):g}"
    asked.ask(
        "loss", failover_loss.accepted(loss, params["rpo_seconds"], params["accept_loss"]),
        f"{failover_loss.told_in_words(loss)}; the objective is {params['rpo_seconds'] or 0:g} s",
        f"bring {old} back, or accept that: failover_accept_loss={typed_bound}",
        (params["rpo_seconds"], seconds),
    )  # fmt: skip
    _poolers(asked, params)


def gone(asked: Asked, members: Members, old: str, params: Params, stoppable: bool) -> None:
    """Nobody may reach the old primary: one who does would go on writing to it."""
    found = {**{name: facts.get("reached") or {} for name, facts in members.items()}, **params["vantages"]}
    reached = {name: (answers.get(old) or {}).get("answer") for name, answers in found.items() if answers.get(old)}
    works = [name for name, answer in reached.items() if answer == "works"]
    starts = [name for name, answer in reached.items() if answer == "starts"]
    asked.ask(
        "primary_gone", not works, f"{old} answers {', '.join(works)}", "it works: use switchover", (0, len(works))
    )
    asked.ask(
        "primary_not_coming", not starts or stoppable,
        f"{old} is starting, as {', '.join(starts)} sees it, and nothing here can stop it", "wait for it",
        (0, len(starts)),
    )  # fmt: skip
    asked.ask(
        "vantage_points", bool(reached), "nobody could look for the old primary's port", "see why no host answers",
        (None, ", ".join(reached)),
    )  # fmt: skip
    streams = [
        name
        for name, facts in members.items()
        if (facts.get("heard") or {}).get("streams") and _follows(facts, params["places"].get(old) or {})
    ]
    asked.ask(
        "no_replica_streams", not streams, f"{', '.join(streams)} still streams from {old}",
        "it works: use switchover; or end its server", (0, len(streams)),
    )  # fmt: skip


def _follows(facts: Facts, place: Facts) -> bool:
    upstream = tuple((facts.get("heard") or {}).get("upstream") or ())
    return not place or upstream == (str(place["host"]), int(place["port"]))


def candidate(asked: Asked, members: Members, new: str, accepts: str) -> None:
    """Whoever is to be promoted can be, and has most."""
    chosen = members.get(new) or {}
    ready = chosen.get("state") == "running" and chosen.get("role") == "replica"
    told = f"{new} is {chosen.get('state')} {chosen.get('role')}" if new else "no member is a replica that runs"
    asked.ask("candidate_runs", ready, told, "start a replica, or restore the cluster")
    if not ready:
        return
    able = {name: facts for name, facts in members.items() if facts.get("position")}
    newest = max(int(facts.get("timeline") or 0) for facts in able.values())
    asked.ask(
        "same_timeline", int(chosen.get("timeline") or 0) == newest,
        f"{new} is on timeline {chosen.get('timeline')}, others are on {newest}", "choose one of those",
        (newest, chosen.get("timeline")),
    )  # fmt: skip
    most = max(int(facts["position"]) for facts in able.values() if int(facts.get("timeline") or 0) == newest)
    behind = most - int(chosen.get("position") or 0)
    first = [name for name, facts in able.items() if int(facts["position"]) == most]
    asked.ask(
        "candidate_furthest", behind <= 0 or bool(accepts),
        f"{new} has {behind} bytes less than {', '.join(first)}, which would be lost on purpose, and "
        f"{', '.join(first)} could not follow it",
        f"name {', '.join(first)}, or accept it: failover_accept_loss=unknown",
        (lsn.text(most), lsn.text(int(chosen.get("position") or 0))),
    )  # fmt: skip
    room(asked, new, chosen, _SEGMENTS)
    delay = chosen.get("apply_delay_seconds") or 0
    asked.ask(
        "replays_at_once", not delay and not chosen.get("replay_paused"),
        f"{new} " + (f"applies with a delay of {delay:g} s" if delay else "has its replay paused"),
        "have it apply at once (recovery_min_apply_delay = 0, pg_wal_replay_resume()), or choose another one",
    )  # fmt: skip
    asked.ask(
        "takes_writes", not chosen.get("read_only"), f"default_transaction_read_only is on for {new}",
        "turn it off there",
    )  # fmt: skip


def _poolers(asked: Asked, params: Params) -> None:
    poolers: Sequence[Facts] = params["poolers"]
    silent = [f"{one['host']}:{one['port']}: {one['problem']}" for one in poolers if one.get("problem")]
    silent += [f"{name} could not be asked" for name in params["poolers_unseen"]]
    asked.ask(
        "poolers_answer", not silent, f"poolers do not answer, and would send their clients to who is gone: "
        f"{'; '.join(silent)}", "start them, or name in failover_pool_hosts a group of those that are there",
    )  # fmt: skip


def databases(params: Params, old: str, new: str) -> list[str]:
    """The databases of the poolers whose clients belong to the new primary.

    Those of the old one, and its own. Also those that are held, or declared to lie on the primary, at any other member:
    an earlier run that chose another candidate has left them there. One that is declared to lie elsewhere stays there.
    """
    places: Mapping[str, Facts] = params["places"]
    told = [one for one in params["poolers"] if not one.get("problem")]
    apart = set(params["placed_databases"])
    found = set(routed(told, places.get(old) or {})) | set(routed(told, places.get(new) or {}, paused=True))
    found.update(name for name in routed(told, places.get(new) or {}) if name not in apart)
    for place in places.values():
        found.update(name for name in routed(told, place, paused=True) if name not in apart)
        found.update(name for name in routed(told, place) if name in params["primary_databases"] and name not in apart)
    return sorted(found)
