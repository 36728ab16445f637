# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Witnesses: the head of a chain, kept where whoever can write the ledger can't change it.

A kind leaves a head there, and says later which heads are there. ``KINDS`` is the only list of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core import chain, keys, ledger
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness_kind import Head, Kind, Witness
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness_mail import Mail
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness_object import LockedObject
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness_time import TimeStamp

KINDS: dict[str, Callable[[Mapping[str, Any], Path], Kind]] = {
    "timestamp": TimeStamp, "object_lock": LockedObject, "mail": Mail,
}  # fmt: skip


def kind_of(options: Mapping[str, Any], root: Path) -> Kind:
    """The kind that the options name.

    :raises Refused: when an option of it is missing or means nothing
    """
    return KINDS[options["kind"]](options, root)


def witnessed(params: Params, check_mode: bool) -> Outcome:
    """Leaves the head of every chain, or of the one that is named, with every witness.

    What one witness refuses keeps no other from it; all that went wrong is said at the end.

    :raises OpsError: when a chain has a finding, or a witness could not be reached
    """
    root = Path(params["ledger"]).absolute()
    trusted = keys.load_trusted(map(Path, params["public_key"]))
    kinds = [(options["kind"], kind_of(options, root)) for options in params["witness"]]
    names = [params["cluster"]] if params["cluster"] else ledger.clusters(root)
    left, wrong = [], []
    for name in names:
        found = chain.read_chain(root, name, trusted)
        if found.findings or not found.records:
            why = str(found.findings[0]) if found.findings else f"{name} has no record"
            wrong.append(f"{name} was not witnessed, as its chain is not sound: {why}")
            continue
        last = found.records[-1]
        head = Head(name, last.sequence, last.digest, root / name / last.name)
        for word, kind in kinds:
            try:
                if kind.leave(head, check_mode):
                    left.append({"cluster": name, "kind": word, "sequence": head.sequence, "head": head.sha256})
            except (OpsError, OSError) as error:
                wrong.append(f"{name} was not witnessed by {word}: {error}")
    if not names:
        wrong.append(f"there is no chain in {root}: nothing to witness")
    if wrong:
        raise OpsError("; ".join(wrong), left=left)
    shown = "".join(f"{one['cluster']} {one['sequence']} {one['head']} {one['kind']}\n" for one in left)
    return Outcome(changed=bool(left), facts={"left": left}, before="", after=shown)


def recall(options: list[Mapping[str, Any]], root: Path, only: str | None) -> list[Witness]:
    """What every witness has, of all clusters or of one."""
    return [one for each in options for one in kind_of(each, root).found() if only in (None, one.cluster)]


def compare(chains: list[chain.Chain], found: list[Witness]) -> tuple[list[chain.Finding], dict[str, Any]]:
    """Findings where a chain does not hold what was witnessed, and what is witnessed."""
    findings, facts = [], {}
    for item in chains:
        places = {record.digest: record.sequence for record in item.records}
        own = [one for one in found if one.cluster == item.cluster]
        for one in own:
            if one.problem:
                findings.append(chain.Finding(item.cluster, "witness", "", f"{one.where}: {one.problem}"))
            elif one.head not in places:
                findings.append(chain.Finding(
                    item.cluster, "witness", "",
                    f"the head {one.head}, witnessed by {one.kind} at {one.at} ({one.where}), is not in the chain",
                ))
        good = [one for one in own if not one.problem and one.head in places]
        newest = max((places[one.head] for one in good), default=0)
        facts[item.cluster] = {
            "unwitnessed": sum(record.sequence > newest for record in item.records),
            "witnesses": [asdict(one) for one in good],
        }
    return findings, facts
