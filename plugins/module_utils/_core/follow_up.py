# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Approvals and corrective actions: what people say of a record later, signed, in the same chain."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import chain, keys, ledger
from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import passed, skipped
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.evidence import operator, outcome
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_shared import store_of
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import DIGEST, FOLLOW_UPS

#: What each kind must say, beside who says it.
NEEDS = {"approval": (), "corrective_action": ("action",)}
SAID = {"approval": ("by", "role", "comment", "ticket"), "corrective_action": ("by", "role", "action", "ticket")}


def followed_up(params: Params, check_mode: bool) -> Outcome:
    """Signs an approval of a record, or a corrective action, and appends it to the record's chain.

    Saying the very same again changes nothing.

    :raises Refused: every reason at once
    """
    given = dict(params["follow_up"])
    root = Path(params["ledger"]).absolute()
    key = keys.load_private(Path(params["private_key"]), params["passphrase"])
    trusted = keys.load_trusted(map(Path, params["public_key"]))
    _refuse_nonsense(given)
    known = chain.read_chain(root, params["cluster"], trusted)
    record, same = _judged(known, given, key.keyid, trusted, params["second_person"])
    if same:
        return outcome(ledger.Appended(
            root / params["cluster"] / same.name, same.sequence, same.predicate["previous"], same.digest,
            same.document or {}, changed=False,
        ), key.keyid)

    def guard() -> None:
        """Once more while nobody else writes: of two at once, the second is refused."""
        now = chain.read_chain(root, params["cluster"], trusted, locking=False)
        _target, rival = _judged(now, given, key.keyid, trusted, params["second_person"])
        if rival:
            preflight = Preflight()
            preflight.refuse(f"another run has just recorded the same as {rival.name}", "nothing is to be done")
            preflight.done()

    written = _record(record, given, key.keyid, params["second_person"])
    written["operator"] = operator(params["operator"], os.environ)
    appended = ledger.append(root, written, key, lock_seconds=params["lock_timeout"], dry_run=check_mode, guard=guard,
                             store=store_of(params))
    return outcome(appended, key.keyid)


def _refuse_nonsense(given: Mapping[str, Any]) -> None:
    preflight = Preflight()
    preflight.require(bool(DIGEST.fullmatch(given["record"])), f"record is {given['record']!r}",
                      "give the sha256 of the record's file, as the report shows it")
    for name in ("by", *NEEDS[given["kind"]]):
        preflight.require(bool((given[name] or "").strip()), f"{name} is empty", "say it")
    unused = set(SAID["approval"] + SAID["corrective_action"]) - set(SAID[given["kind"]])
    for name in sorted(unused):
        preflight.require(not given[name], f"{name} has no place in {given['kind']}", "leave it out")
    preflight.done()


def _judged(
    known: chain.Chain, given: Mapping[str, Any], keyid: str, trusted: keys.TrustedKeys, second_person: bool,
) -> tuple[chain.Record, chain.Record | None]:
    """The record that is meant, and the one that already says the very same of it."""
    preflight = Preflight()
    preflight.require(keyid in trusted, "the public half of this signing key is not among the trusted ones",
                      "name it in public_key too, and give it to whoever verifies")
    found = [record for record in known.records if record.digest == given["record"]]
    if not found:
        preflight.refuse(f"no record of {known.cluster} has the digest {given['record']}", "correct it, or the cluster")
    preflight.done()
    record, said = found[0], found[0].predicate
    if record.signed_by is None or record.findings or not said:
        preflight.refuse(f"nobody vouches for {record.name}", "verify the ledger first")
        preflight.done()
    preflight.require(said["operation"] not in FOLLOW_UPS, f"{record.name} follows a record itself",
                      "name the operation's record")
    preflight.require(not second_person or record.signed_by != keyid,
                      f"{record.name} was signed with this very key, and a second person is demanded",
                      "let somebody else sign, with a key of their own")
    if given["kind"] == "corrective_action":
        preflight.require(said["verdict"] != "verified" or _missed(said), f"{record.name} was verified",
                          "there is nothing to correct")
    own = [item for item in known.records
           if item.signed_by == keyid and not item.findings and item.predicate.get("operation") == given["kind"]
           and item.subjects[0]["digest"]["sha256"] == given["record"]]
    same = [item for item in own if item.predicate[given["kind"]] == _said(given)]
    if given["kind"] == "approval" and own and not same:
        preflight.refuse(f"this key has approved {record.name} already, in {own[0].name}", "nothing is to be done")
    preflight.done()
    return record, same[0] if same else None


def _said(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: given[name].strip() for name in SAID[given["kind"]] if (given[name] or "").strip()}


def _record(record: chain.Record, given: Mapping[str, Any], keyid: str, second_person: bool) -> dict[str, Any]:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    another = record.signed_by != keyid
    checks = [
        passed("record_signed", expected=given["record"], actual=record.digest),
        passed("second_person", required=second_person) if another
        else skipped("second_person", required=False, message="signed with the key that signed the record"),
    ]
    return {
        "operation": given["kind"], "cluster": record.predicate["cluster"], "engine": record.predicate["engine"],
        "started": now, "finished": now, "checks": [check.to_dict() for check in checks],
        "subjects": [{"name": record.name, "digest": {"sha256": record.digest}}], given["kind"]: _said(given),
    }


def _missed(said: Mapping[str, Any]) -> bool:
    pairs = [(said["measurements"].get(name), limit) for name, limit in said["objectives"].items()]
    return any(isinstance(value, (int, float)) and isinstance(limit, (int, float)) and value > limit
               for value, limit in pairs)
