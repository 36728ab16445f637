# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster may be changed now, and what a person typed to change it all the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import evidence
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_select import typed
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_window import closed

#: They change nothing in production, and go on while it is frozen.
HARMLESS = ("backup", "config_drift", "dump", "restore_drill")


@dataclass(frozen=True)
class Context:
    """What a run of Ansible knows that the options do not say.

    :param variable: a variable of a cluster, as its first host has it; None where there is none
    :param words: what every run gets after the playbook: inventories, vaults, the account
    :param typed: extra variables of the command line; files of them are among the words
    :param asked: all extra variables
    """

    groups: Mapping[str, Sequence[str]]
    children: Mapping[str, Sequence[str]]
    variable: Callable[[str, str], Any]
    words: Sequence[str]
    typed: Mapping[str, Any]
    asked: Mapping[str, Any]
    environment: Mapping[str, str]
    check: bool
    tell: Callable[[str], None]


class Gate:
    """Whether a cluster may be changed now. What was overridden stays open for the whole run."""

    def __init__(self, operation: str, params: Mapping[str, Any], context: Context) -> None:
        self._minds = operation not in HARMLESS and not context.check
        self._params, self._context = params, context
        self.shut: dict[str, str] = {}

    def __call__(self, cluster: str) -> str:
        return "" if cluster in self.shut else self._closed(cluster)

    def decide(self, clusters: Sequence[str], preflight: Preflight) -> str:
        """Note what is shut and overridden; returns the override's words."""
        wanted, reason = self._params["override"], self._params["override_reason"]
        shut = {one: why for one in clusters if (why := self._closed(one))}
        if not wanted:
            if shut and len(shut) == len(clusters):
                one, why = next(iter(shut.items()))
                others = f" (and {len(shut) - 1} more are shut)" if len(shut) > 1 else ""
                preflight.refuse(f"{one} is {why}{others}", "wait, or type fleet_override="
                                 f"'{typed(list(shut))}' with fleet_override_reason")
            return ""
        if not self._minds:
            return ""
        preflight.require(bool(shut), "nothing is to be overridden: no cluster is shut", "leave fleet_override out")
        preflight.require(not shut or wanted == typed(list(shut)), f"fleet_override is {wanted!r}",
                          f"for what is shut now type '{typed(list(shut))}'")
        preflight.require(bool(reason), "fleet_override_reason is missing", "say why, it goes on record")
        self.shut = shut
        return f"{wanted}: {reason}"

    def _closed(self, cluster: str) -> str:
        if not self._minds:
            return ""
        own = self._context.variable(cluster, "fleet_windows")
        freezes = [*self._params["freezes"], *(self._context.variable(cluster, "fleet_freezes") or [])]
        return closed(datetime.now(timezone.utc), self._params["windows"] if own is None else own, freezes)


def record_override(operation: str, shut: Mapping[str, str], params: Mapping[str, Any]) -> None:
    """One signed record for each cluster, before anything is begun. Raises EvidenceError where it can't be signed."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for cluster, why in shut.items():
        digest = hashlib.sha256(cluster.encode()).hexdigest()
        record = {
            "operation": "fleet_override", "cluster": cluster, "engine": "any", "started": now, "finished": now,
            "measurements": {"overridden_operation": operation, "shut": why, "reason": params["override_reason"][:400]},
            "checks": [
                {"name": "override_typed", "required": True, "status": "passed", "expected": params["override"],
                 "actual": params["override"]},
            ],
            "subjects": [{"name": f"cluster-name/{cluster}", "digest": {"sha256": digest}}],
        }
        evidence.recorded({**params, "record": record, "lock_timeout": 60, "store": params.get("store")}, False)
