# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd's members: what each says, how one without data comes in, and its way in, by the JSON gateway of its API."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rest import Api
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import await_condition

Seen = Mapping[str, Mapping[str, Any]]
_STARTED_WITH = {"ETCD_INITIAL_CLUSTER_STATE": "cluster_state", "ETCD_INITIAL_CLUSTER": "initial_cluster"}
#: An election takes a second or two, on a busy machine more.
_ELECTION_SECONDS = 5


@dataclass(frozen=True)
class Entry:
    """A way in: `new` bootstraps, `existing` joins, `keep` has its data. What must leave or be added before."""

    state: str
    remove: str = ""
    add: bool = False


def etcd(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for."""
    act = {"seen": _seen, "planned": _planned, "joined": _joined, "healthy": _healthy, "read": _read}[params["state"]]
    return act(params, check_mode)


def _api(params: Params, url: str) -> Api:
    return Api(url.rstrip("/"), cafile=params["cafile"] or "", certfile=params["certfile"] or "",
               keyfile=params["keyfile"] or "", service="etcd")  # fmt: skip


def members_of(api: Api) -> list[dict[str, Any]]:
    """The members as one of them knows them. Raises OpsError where it does not answer."""
    answer = api.ask("POST", "/v3/cluster/member/list", {"linearizable": False}, 5)
    if answer.status == 400:
        # The word came with 3.5.
        answer = api.ask("POST", "/v3/cluster/member/list", {}, 5)
    if not answer.good:
        raise OpsError(f"etcd at {api.url}: {answer.words}")
    return [_row(one) for one in answer.json().get("members") or []]


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    """A member. One that has never been up has not said where clients reach it."""
    return {
        "id": str(one.get("ID") or one.get("id") or ""),
        "name": str(one.get("name") or ""),
        "peer_urls": list(one.get("peerURLs") or []),
        "started": bool(one.get("clientURLs")),
    }


def healthy(api: Api) -> bool:
    """Whether it can write, which takes a quorum."""
    try:
        answer = api.ask("GET", "/health", seconds=5)
        return answer.good and str(answer.json().get("health")).lower() == "true"
    except OpsError:
        return False


def _seen(params: Params, check_mode: bool) -> Outcome:
    """What this host holds, and what its member says."""
    del check_mode
    facts: dict[str, Any] = {
        "has_data": (Path(params["data_dir"]) / "member" / "wal").exists(),
        "cluster_state": "",
        "initial_cluster": "",
        "answers": False,
        "healthy": False,
        "members": [],
    }
    for line in read_text(params["environment_file"]).splitlines() if params["environment_file"] else []:
        name, _equals, value = line.partition("=")
        if name.strip() in _STARTED_WITH:
            facts[_STARTED_WITH[name.strip()]] = value.strip().strip("\"'")

    def answers() -> bool:
        facts.update(_said(params))
        return bool(facts["answers"])

    if facts["has_data"] and params["wait"]:
        await_condition(answers, params["timeout"], every=0.2)
        # Who has just lost their leader elect another one: that is no lost quorum.
        seconds = min(params["timeout"], _ELECTION_SECONDS)
        await_condition(lambda: answers() and bool(facts["healthy"]), seconds, every=0.2)
    else:
        answers()
    return Outcome(False, {"etcd": facts})


def _said(params: Params) -> dict[str, Any]:
    """What the member of this host says: to clients once it has a quorum, to other members before that."""
    api = _api(params, params["endpoints"][0])
    try:
        return {"members": members_of(api), "answers": True, "healthy": healthy(api), "problem": ""}
    except OpsError as exc:
        problem = str(exc)
    try:
        answer = _api(params, params["peer_url"] or "").ask("GET", "/members", seconds=5)
        rows = json.loads(answer.text) if answer.good else None
        if isinstance(rows, list):
            return {"members": [_row(row) for row in rows], "answers": True, "healthy": False, "problem": problem}
    except (OpsError, ValueError):
        pass
    return {"members": [], "answers": False, "healthy": False, "problem": problem}


def way_in(name: str, peer_url: str, seen: Seen) -> Entry:
    """How the member `name` is to be started, by what all declared hosts said. Raises Refused.

    A member that has data goes on with it, whatever the file says. One without data bootstraps only while nobody knows
    that it has ever been there. One that was there and has lost its data comes in as a new one, which the others, who
    must be a quorum, have to agree to: started as it was, it would have forgotten what it voted for.
    """
    if seen[name]["has_data"]:
        return Entry("keep")
    telling = [facts for facts in seen.values() if facts.get("answers")]
    well = [facts for facts in telling if facts.get("healthy")]
    if not telling:
        # Nobody answers. Those that have data were started before this is asked.
        mute = [other for other, facts in seen.items() if facts["has_data"]]
        preflight = Preflight()
        preflight.require(
            not mute, f"etcd on {', '.join(mute)} has data and does not answer", "see journalctl -u etcd there"
        )
        preflight.done()
        return Entry("new")
    rows = [row for facts in (well or telling) for row in facts["members"]]
    own = next((row for row in rows if peer_url in row["peer_urls"]), None)
    if well:
        if own is None:
            return Entry("existing", add=True)
        if not own["started"]:
            return Entry("existing")
        return Entry("existing", remove=own["id"], add=True)
    if own is not None and not own["started"]:
        # The first start of them all was interrupted.
        return Entry("new")
    preflight = Preflight()
    what = f"{name} has no data, and those that have it are no quorum" + (
        " any more: it was a member before" if own else ", so that it can't be added"
    )
    preflight.refuse(what, "bring back a member with its data, or restore etcd from a snapshot")
    preflight.done()
    raise AssertionError(what)


def _planned(params: Params, check_mode: bool) -> Outcome:
    del check_mode
    entry = way_in(params["name"], params["peer_url"], params["members"])
    return Outcome(False, {"entry": {"state": entry.state, "remove": entry.remove, "add": entry.add}})


def _joined(params: Params, check_mode: bool) -> Outcome:
    """Have the members let this one in, by any that is well. What an earlier run did is seen, and not done again."""
    api = _well(params)
    rows = members_of(api)
    own = next((row for row in rows if params["peer_url"] in row["peer_urls"]), None)
    before = f"{params['peer_url']}: {'a member that has lost its data' if own else 'no member'}\n"
    if own and not own["started"]:
        return Outcome(False, {"initial_cluster": _initial(rows, params)})
    if not check_mode:
        if own:
            _order(api, "/v3/cluster/member/remove", {"ID": own["id"]}, params["timeout"])
        _order(api, "/v3/cluster/member/add", {"peerURLs": [params["peer_url"]]}, params["timeout"])
        rows = members_of(api)
    return Outcome(True, {"initial_cluster": _initial(rows, params)}, before, f"{params['peer_url']}: a member\n")


def _initial(rows: Sequence[Mapping[str, Any]], params: Params) -> str:
    """The members as one that joins has to know them."""
    pairs = [
        f"{params['name'] if params['peer_url'] in row['peer_urls'] else row['name']}={url}"
        for row in rows
        for url in row["peer_urls"]
    ]
    return ",".join(sorted(pairs))


def _well(params: Params) -> Api:
    for url in params["endpoints"]:
        api = _api(params, url)
        if healthy(api):
            return api
    raise OpsError(f"no member of etcd is well ({', '.join(params['endpoints'])}); see journalctl -u etcd")


def _order(api: Api, path: str, body: Mapping[str, Any], seconds: float) -> None:
    """Have the members changed. Until they have been connected for some seconds, they call themselves unhealthy."""
    answer = api.ask("POST", path, body)

    def taken() -> bool:
        nonlocal answer
        if not answer.good and "unhealthy cluster" in answer.words:
            answer = api.ask("POST", path, body)
        return answer.good or "unhealthy cluster" not in answer.words

    await_condition(taken, seconds, every=0.5)
    if not answer.good:
        raise OpsError(f"etcd at {api.url} refuses {path}: {answer.words}")


def _healthy(params: Params, check_mode: bool) -> Outcome:
    """Wait until this member can write, and is known to the others."""
    if check_mode:
        return Outcome(False)
    api = _api(params, params["endpoints"][0])
    if not await_condition(lambda: healthy(api), params["timeout"], every=0.2):
        raise OpsError(
            f"etcd at {api.url} is not well after {params['timeout']} s: it has no quorum, or does not run "
            "(see journalctl -u etcd; all members have to be started)"
        )
    return Outcome(False, {"members": members_of(api)})


def _read(params: Params, check_mode: bool) -> Outcome:
    """What stands at a key, by whichever member is well; None where nothing does."""
    del check_mode
    api = _well(params)
    wanted = base64.b64encode(params["key"].encode()).decode()
    answer = api.ask("POST", "/v3/kv/range", {"key": wanted})
    if not answer.good:
        raise OpsError(f"etcd at {api.url} does not tell {params['key']}: {answer.words}")
    rows = answer.json().get("kvs") or []
    value = base64.b64decode(rows[0].get("value") or "").decode(errors="replace") if rows else None
    return Outcome(False, {"value": value})
