#!/usr/bin/env python3
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify an evidence ledger with nothing but Python's standard library and the openssl program.

    python3 audit_evidence.py LEDGER --key evidence.pub.pem [--key OLDER.pub.pem]
                              [--cluster NAME] [--head NAME=SHA256] [--json]

For an auditor who trusts neither Ansible nor the code that wrote the ledger: this file shares no code with the
collection. Get the public key, and the head digests if they were kept, from somewhere else than the ledger.
Exit status: 0 nothing found, 1 findings, 2 could not be run.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAYLOAD_TYPE = "application/vnd.in-toto+json"
TYPES = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:boringdb.ops:operation:v1"}
FOLLOW_UPS = ("approval", "corrective_action")
NAME = re.compile(r"(\d{8})-([a-z][a-z0-9_]*)-(\d{8}T\d{6}Z)\.dsse\.json")
CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SIZE_LIMIT = 8 << 20


class CannotRun(Exception):
    """The audit itself could not be done."""


def openssl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run openssl; secrets are not involved in anything here."""
    return subprocess.run(["openssl", *arguments], capture_output=True, check=False)


def key_id(path: Path) -> str:
    """SHA-256 of the public key in DER."""
    done = openssl("pkey", "-pubin", "-in", str(path), "-outform", "DER")
    text = openssl("pkey", "-pubin", "-in", str(path), "-noout", "-text")
    if done.returncode or b"ED25519" not in text.stdout.upper():
        raise CannotRun(f"{path} is not an ed25519 public key in PEM")
    return hashlib.sha256(done.stdout).hexdigest()


def verifies(key: Path, signature: bytes, data: bytes) -> bool:
    """Whether openssl accepts the signature."""
    with tempfile.TemporaryDirectory() as folder:
        message, sig = Path(folder, "message"), Path(folder, "sig")
        message.write_bytes(data)
        sig.write_bytes(signature)
        return openssl(
            "pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-rawin", "-in", str(message), "-sigfile", str(sig)
        ).returncode == 0


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse keys that appear twice: two readers could see two things."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return dict(pairs)


def no_constant(name: str) -> None:
    """NaN and Infinity are not JSON."""
    raise ValueError(f"{name} is not a JSON number")


def parse(data: bytes) -> dict[str, Any]:
    """Strict JSON object."""
    document = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def derived_verdict(predicate: dict[str, Any]) -> str:
    """What the checks of a record say together, in the words of docs/evidence.md."""
    required = [check["status"] for check in predicate["checks"] if check["required"]]
    if "failed" in required:
        return "failed"
    if predicate.get("error") or not required or set(required) != {"passed"}:
        return "error"
    return "verified"


def expected_name(predicate: dict[str, Any]) -> str:
    """The file name that the signed contents ask for."""
    finished = re.sub(r"(\.\d+)?Z$", "Z", predicate["finished"]).replace("-", "").replace(":", "")
    return f"{predicate['sequence']:08d}-{predicate['operation']}-{finished}.dsse.json"


class Record:
    """One file, examined by itself."""

    def __init__(self, cluster: str, path: Path, keys: dict[str, Path]) -> None:
        self.name = path.name
        self.findings: list[tuple[str, str]] = []
        self.signed = False
        self.predicate: dict[str, Any] | None = None
        self.follows: str | None = None
        named = NAME.fullmatch(path.name)
        self.sequence = int(named.group(1)) if named else 0
        regular = path.is_file() and not path.is_symlink() and path.stat().st_size <= SIZE_LIMIT
        data = path.read_bytes() if regular else b""
        self.digest = hashlib.sha256(data).hexdigest()
        try:
            self.examine(cluster, data, keys)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.predicate = None
            self.findings.append(("unparsable", f"not a record: {type(error).__name__} {error}"))

    def examine(self, cluster: str, data: bytes, keys: dict[str, Path]) -> None:
        """Signature first; then what the contents say about their place."""
        envelope = parse(data)
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
        signed_bytes = b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)
        signatures = [(item.get("keyid", ""), base64.b64decode(item["sig"], validate=True))
                      for item in envelope["signatures"]]
        if not signatures:
            raise ValueError("no signature")
        self.signed = any(verifies(key, sig, signed_bytes) for _keyid, sig in signatures for key in keys.values())
        if not self.signed:
            ours = any(keyid in keys for keyid, _sig in signatures)
            self.findings.append(
                ("altered", "the signature does not fit the contents") if ours
                else ("foreign_key", "signed by a key that is not trusted")
            )
        if kind != PAYLOAD_TYPE:
            raise ValueError(f"payloadType is {kind!r}")
        statement = parse(payload)
        for key, value in TYPES.items():
            if statement[key] != value:
                raise ValueError(f"{key} is {statement[key]!r}")
        predicate = statement["predicate"]
        sequence = predicate["sequence"]
        if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 1:
            raise ValueError("sequence is not a whole number from 1")
        if predicate["verdict"] != derived_verdict(predicate):
            raise ValueError(f"verdict is {predicate['verdict']}, but the checks say {derived_verdict(predicate)}")
        wanted = expected_name(predicate)
        if predicate["operation"] in FOLLOW_UPS:
            [subject] = statement["subject"]
            self.follows = subject["digest"]["sha256"]
            if not predicate[predicate["operation"]]["by"]:
                raise ValueError("nobody says who follows it")
        self.predicate = predicate
        if not self.signed:
            return
        if predicate["cluster"] != cluster:
            self.findings.append(("misplaced", f"it is a record of {predicate['cluster']}"))
            return
        self.sequence = sequence
        if self.name != wanted:
            self.findings.append(("reordered", f"its signed contents belong in {wanted}"))


@contextlib.contextmanager
def still(folder: Path) -> Iterator[None]:
    """Keep writers out while the folder is read, where its lock may be opened."""
    try:
        handle = (folder / ".lock").open("rb")
    except OSError:
        yield
        return
    with handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def audit_chain(cluster: str, records: list[Record], witnessed: list[str]) -> list[dict[str, Any]]:
    """Everything that is wrong with one chain."""
    findings: list[tuple[str, str, str]] = []
    if not records:
        findings.append(("empty", "", f"no record of {cluster} in the ledger"))
    before = None
    for record in (item for item in records if item.sequence > 0):
        place = before.sequence if before else 0
        if before and record.sequence == place:
            findings.append(("duplicate", record.name, f"{before.name} also claims place {place}"))
            continue
        if record.sequence > place + 1:
            gap = f"{place + 1} to {record.sequence - 1}"
            findings.append(("removed", "", f"records {gap} before {record.name} missing"))
        elif record.signed and record.predicate:
            sealed = record.predicate["previous"]
            if before and sealed != before.digest and not any(kind == "altered" for kind, _said in before.findings):
                findings.append(("altered", before.name, f"its bytes are not those that {record.name} sealed"))
            elif not before and sealed is not None:
                findings.append(("removed", "", f"{record.name} seals a record before it that is not there"))
        before = record
    known: set[str] = set()
    for record in records:
        if record.signed and record.predicate and record.follows is not None and record.follows not in known:
            text = f"it follows {record.follows}, which is not in the chain before it"
            findings.append(("follow_up", record.name, text))
        known.add(record.digest)
    digests = {record.digest for record in records}
    findings += [("witness", "", f"the witnessed head {head} is not in the chain")
                 for head in witnessed if head not in digests]
    findings += [(kind, record.name, message) for record in records for kind, message in record.findings]
    findings.sort(key=lambda finding: (finding[1][:8], finding[1], finding[0]))
    return [{"cluster": cluster, "kind": kind, "record": name, "message": text} for kind, name, text in findings]


def audit(ledger: Path, keys: dict[str, Path], only: str | None, heads: dict[str, list[str]]) -> dict[str, Any]:
    """The whole result, as printed by --json."""
    names = {path.name for path in ledger.iterdir() if path.is_dir() and CLUSTER.fullmatch(path.name)} - {"keys"}
    result: dict[str, Any] = {"ledger": str(ledger), "keys": sorted(keys), "clusters": {}, "findings": []}
    wanted = [only] if only else sorted(names | set(heads))
    for cluster in wanted:
        folder = ledger / cluster
        with still(folder):
            paths = sorted(folder.iterdir()) if folder.is_dir() else []
            records = [Record(cluster, path, keys) for path in paths
                       if path.name.endswith(".dsse.json") and not path.name.startswith(".")]
        records.sort(key=lambda record: (record.sequence, record.name))
        findings = audit_chain(cluster, records, heads.get(cluster, []))
        signed = [record for record in records if record.signed and record.predicate]
        last = signed[-1].predicate if signed else None
        result["clusters"][cluster] = {
            "records": len(records), "findings": len(findings), "head": records[-1].digest if records else None,
            "last": {key: last[key] for key in ("operation", "finished", "verdict")} if last else None,
        }
        result["findings"] += findings
    if not wanted:
        result["findings"].append({"cluster": "ledger", "kind": "empty", "record": "", "message": "no record at all"})
    return result


def show(result: dict[str, Any]) -> None:
    """One line per cluster and one per finding."""
    for cluster, found in result["clusters"].items():
        word = "OK    " if not found["findings"] else "FAILED"
        last = found["last"]
        said = f"last {last['operation']} {last['verdict']} {last['finished']}" if last else "no signed record"
        print(f"{word} {cluster}: {found['records']} records, {said}, head {found['head']}")
    for finding in result["findings"]:
        where = "/".join(part for part in (finding["cluster"], finding["record"]) if part)
        print(f"  {finding['kind']}: {where}: {finding['message']}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Verify an evidence ledger with openssl.")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--key", type=Path, action="append", required=True, help="trusted public key, PEM; repeatable")
    parser.add_argument("--cluster", help="verify this cluster only")
    parser.add_argument("--head", action="append", default=[], metavar="CLUSTER=SHA256",
                        help="a head digest that was kept outside of the ledger; repeatable")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args()


def main() -> int:
    """Exit status, see the top of this file."""
    options = arguments()
    try:
        if not shutil.which("openssl"):
            raise CannotRun("the openssl program is not installed")
        if not options.ledger.is_dir():
            raise CannotRun(f"{options.ledger} is not a folder")
        heads: dict[str, list[str]] = {}
        for item in options.head:
            cluster, equals, head = item.partition("=")
            if not equals or not re.fullmatch(r"[0-9a-fA-F]{64}", head):
                raise CannotRun(f"--head {item}: give CLUSTER=SHA256")
            heads.setdefault(cluster, []).append(head.lower())
        result = audit(options.ledger, {key_id(path): path for path in options.key}, options.cluster, heads)
    except (CannotRun, OSError) as error:
        print(f"audit_evidence: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result, indent=1, sort_keys=True))
    else:
        show(result)
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
