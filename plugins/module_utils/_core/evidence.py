# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of the ``evidence`` module, each ``(params, check_mode) -> Outcome``."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import chain, keys, ledger, witness
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_shared import store_of
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import FOLLOW_UPS

#: What a verified record of an operation proves, and the measurement that names it.
_PROOFS = {"restore_drill": ("backups", "backup_label"), "dump": ("dumps", "dump_label")}
SHOWN = 3  # findings named in the one line of an error; the result carries all of them


class NotVerified(EvidenceError):
    """A ledger with findings; ``facts`` are the same return values a sound one has."""

    def __init__(self, message: str, facts: dict[str, Any]) -> None:
        super().__init__(message)
        self.facts = facts


def keypair(params: Params, check_mode: bool) -> Outcome:
    """Makes sure that the signing key and its public half exist."""
    private = Path(params["private_key"])
    public = Path(params["public_key"][0]) if params["public_key"] else private.with_suffix(".pub.pem")
    keyid, created = keys.ensure_keypair(private, public, params["passphrase"], dry_run=check_mode)
    return Outcome(
        changed=bool(created),
        facts={"keyid": keyid, "private_key": str(private), "public_key": str(public), "created": created},
        before="",
        after="".join(f"{path}\n" for path in created),
    )


def recorded(params: Params, check_mode: bool) -> Outcome:
    """Signs a record and appends it to its cluster's chain."""
    record = dict(params["record"])
    if record["operation"] in FOLLOW_UPS:
        raise EvidenceError(f"{record['operation']} is said of a record that is there: use state=followed_up")
    record["operator"] = operator(record.get("operator"), os.environ)
    key = keys.load_private(Path(params["private_key"]), params["passphrase"])
    appended = ledger.append(
        Path(params["ledger"]).absolute(), record, key, lock_seconds=params["lock_timeout"], dry_run=check_mode,
        store=store_of(params),
    )
    return outcome(appended, key.keyid)


def outcome(appended: ledger.Appended, keyid: str) -> Outcome:
    """What a record that was appended, or stood there, is returned as."""
    predicate = appended.statement["predicate"]
    shown = json.dumps(appended.statement, indent=2, sort_keys=True) + "\n" if appended.changed else ""
    return Outcome(
        changed=appended.changed,
        facts={
            "cluster": predicate["cluster"],
            "path": str(appended.path),
            "sequence": appended.sequence,
            "previous": appended.previous,
            "head": appended.head,
            "keyid": keyid,
            "verdict": predicate["verdict"],
            "statement": appended.statement,
        },
        before="",
        after=shown,
    )


def verified(params: Params, check_mode: bool) -> Outcome:
    """Verifies the whole ledger or one cluster's chain.

    :raises NotVerified: when there are findings
    """
    root = Path(params["ledger"])
    if not root.is_dir():
        raise EvidenceError(f"ledger {root} is not a folder: correct the path")
    trusted = keys.load_trusted(map(Path, params["public_key"] or ()))
    witnesses = witness_lists(params["witnesses"] or {})
    recalled = witness.recall(params.get("witness") or [], root.absolute(), params["cluster"])
    named = {**{one.cluster: [] for one in recalled}, **witnesses}
    chains = chain.read_ledger(root, trusted, [params["cluster"]] if params["cluster"] else (), named)
    findings = [finding for item in chains for finding in item.findings]
    unlike, seen = witness.compare(chains, recalled)
    findings += unlike
    if not chains:
        findings.append(chain.Finding("ledger", "empty", "", f"no record at all in {root}"))
    facts = {
        "verified": not findings,
        "findings": [finding.to_dict() for finding in findings],
        "clusters": {
            item.cluster: {"records": len(item.records), "head": item.head, "findings": len(item.findings)}
            for item in chains
        },
        "keyids": sorted(trusted),
        "witnessed": seen if params.get("witness") else {},
    }
    if findings:
        raise NotVerified(_complaint(findings), facts)
    return Outcome(changed=False, facts=facts)


def proven(params: Params, check_mode: bool) -> Outcome:
    """The backups of one cluster that a verified drill restored, and the proven dumps, the newest proof first.

    Where the chain is not sound nothing it says can be relied on: ``sound`` is false, and ``problem`` says why.
    """
    del check_mode
    root = Path(params["ledger"]).absolute()
    facts: dict[str, Any] = {"backups": [], "dumps": [], "sound": True, "problem": "", "ledger": str(root)}
    if not ledger.record_files(root / params["cluster"]):
        return Outcome(facts=facts)
    try:
        item = chain.read_chain(root, params["cluster"], keys.load_trusted(map(Path, params["public_key"])))
        problem = _complaint(item.findings) if item.findings else ""
    except EvidenceError as error:
        problem = str(error)
    if problem:
        facts.update(sound=False, problem=problem)
        return Outcome(facts=facts)
    for record in reversed(item.records):
        said = record.predicate
        if said["operation"] not in _PROOFS or said["verdict"] != "verified":
            continue
        kind, named = _PROOFS[said["operation"]]
        label = said["measurements"].get(named)
        if label and label not in [one["label"] for one in facts[kind]]:
            facts[kind].append({"label": str(label), "verified": said["finished"], "record": record.name})
    return Outcome(facts=facts)


def identified(params: Params, check_mode: bool) -> Outcome:
    """Which cluster each name stands for: the digest of its system identifier in its newest verified drill.

    Where the trusted keys can't be read nothing is known, and ``problem`` says why.
    """
    del check_mode
    root = Path(params["ledger"]).absolute()
    facts: dict[str, Any] = {"identities": {}, "problem": "", "ledger": str(root)}
    names = ledger.clusters(root)
    try:
        trusted = keys.load_trusted(map(Path, params["public_key"])) if names else {}
    except EvidenceError as error:
        return Outcome(facts={**facts, "problem": str(error)})
    for name in names:
        record = chain.newest(root, name, trusted, _identity)
        if record:
            facts["identities"][name] = _identity(record)
    return Outcome(facts=facts)


def _identity(record: chain.Record) -> str:
    said = record.predicate
    if said["operation"] != "restore_drill" or said["verdict"] != "verified":
        return ""
    subject = f"cluster/{said['cluster']}"
    return next((str(one["digest"]["sha256"]) for one in record.subjects if one["name"] == subject), "")


def witness_lists(witnesses: Mapping[str, Any]) -> dict[str, list[str]]:
    """Cluster -> digests, where one digest may stand alone.

    :raises EvidenceError: for anything that is not a sha256
    """
    result = {}
    for cluster, value in witnesses.items():
        digests = [str(item).strip().lower() for item in (value if isinstance(value, list) else [value])]
        if not all(len(item) == 64 and set(item) <= set("0123456789abcdef") for item in digests):
            raise EvidenceError(f"witness of {cluster} is not a sha256: give the 64 digits that were printed as head")
        result[cluster] = digests
    return result


def operator(given: Any, environment: Mapping[str, str]) -> Any:
    """Who ran the operation: as given, else the account of this process and the AWX job it belongs to."""
    if given is not None and not isinstance(given, dict):
        return given
    result = {key: value for key, value in (given or {}).items() if value not in (None, "")}
    if not result.get("user"):
        result["user"] = _account()
    # AWX and ansible-runner put the job's number into the environment of ansible-playbook.
    job = environment.get("AWX_JOB_ID") or (environment.get("JOB_ID") if "AWX_HOST" in environment else None)
    if job and not result.get("awx_job"):
        result["awx_job"] = str(job)
    return result


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.geteuid()}"


def _complaint(findings: list[chain.Finding]) -> str:
    shown = "; ".join(str(finding) for finding in findings[:SHOWN])
    more = f"; and {len(findings) - SHOWN} more in findings" if len(findings) > SHOWN else ""
    count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    return f"the ledger is not verified, {count}: {shown}{more}. Keep the ledger as it is and compare it with a copy"
