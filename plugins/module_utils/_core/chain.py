# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads chains back and says everything that is wrong with them.

Trust comes from the keys the caller names. A signature is tried against every trusted key, whatever key id it
claims: the id is a hint that nothing protects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import dsse, ledger, statement
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import TrustedKeys, verifies

SIZE_LIMIT = 8 << 20  # bytes; a record is a few kilobytes

# Kind of finding -> what it means.
KINDS = {
    "altered": "the contents are not those that were signed, or not those the next record sealed",
    "removed": "a record that must have been there is not",
    "reordered": "a record's file name is not the one its signed contents ask for",
    "duplicate": "two records claim the same place in the chain",
    "foreign_key": "signed by a key that is not trusted",
    "unparsable": "the file is not a record",
    "misplaced": "a record of another cluster",
    "witness": "a digest that was witnessed outside is not in the chain: its tail was cut or the chain rewritten",
    "follow_up": "an approval or a corrective action of a record that is not in the chain before it",
    "empty": "there is nothing to verify",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: ``record`` is a file name, or empty for the chain as a whole."""

    cluster: str
    kind: str
    record: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """As returned by modules."""
        return {"cluster": self.cluster, "kind": self.kind, "record": self.record, "message": self.message}

    def __str__(self) -> str:
        where = f"{self.cluster}/{self.record}" if self.record else self.cluster
        return f"{where}: {self.kind}: {self.message}"


@dataclass
class Record:
    """One file of a chain.

    :param signed_by: id of the trusted key that signed it; None when no trusted key did
    :param document: the statement; None when it could not be read. Proves nothing unless ``signed_by`` is set.
    """

    name: str
    digest: str
    sequence: int
    signed_by: str | None = None
    document: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def subjects(self) -> list[dict[str, Any]]:
        """What the record is about, each with its digest; empty when it could not be read."""
        return self.document["subject"] if self.document else []

    @property
    def predicate(self) -> dict[str, Any]:
        """What the record says; empty when it could not be read."""
        return self.document["predicate"] if self.document else {}


@dataclass
class Chain:
    """A cluster's records in order, and everything that is wrong with them."""

    cluster: str
    records: list[Record]
    findings: list[Finding]

    @property
    def head(self) -> str | None:
        """sha256 of the last record's file: the digest to witness outside."""
        return self.records[-1].digest if self.records else None


def read_ledger(
    root: Path, trusted: TrustedKeys, names: Iterable[str] = (), witnesses: Mapping[str, Iterable[str]] | None = None,
) -> list[Chain]:
    """Every chain of a ledger, or those named, verified.

    :param witnesses: cluster -> head digests that were kept outside and must still be in its chain
    """
    witnesses = witnesses or {}
    wanted = list(names) or sorted({*ledger.clusters(root), *witnesses})
    return [read_chain(root, name, trusted, witnesses.get(name, ())) for name in wanted]


def read_chain(
    root: Path, cluster: str, trusted: TrustedKeys, witnessed: Iterable[str] = (), locking: bool = True,
) -> Chain:
    """One cluster's chain, verified.

    :param locking: false where the caller holds the chain's lock itself
    """
    folder = root / cluster
    with ledger.locked(folder, 60, shared=True) if locking else contextlib.nullcontext():
        files = [(path, _read(path)) for path in ledger.record_files(folder)]
    records = sorted((_examine(cluster, path, data, trusted) for path, data in files),
                     key=lambda record: (record.sequence, record.name))
    chain = Chain(cluster, records, [])
    if not records:
        chain.findings.append(Finding(cluster, "empty", "", f"no record of {cluster} in the ledger"))
    _check_links(chain)
    _check_follow_ups(chain)
    known = {record.digest for record in records}
    chain.findings += [
        Finding(cluster, "witness", "", f"the witnessed head {head} is not in the chain")
        for head in witnessed if head.lower() not in known
    ]
    chain.findings += [finding for record in records for finding in record.findings]
    chain.findings.sort(key=lambda finding: (finding.record[:8], finding.record, finding.kind))
    return chain


def newest(root: Path, cluster: str, trusted: TrustedKeys, wanted: Callable[[Record], object]) -> Record | None:
    """The last record of a chain that a trusted key signed for its place and that is wanted; no more are read."""
    for path in reversed(ledger.record_files(root / cluster)):
        record = _examine(cluster, path, _read(path), trusted)
        if record.signed_by and record.document and not record.findings and wanted(record):
            return record
    return None


def _read(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > SIZE_LIMIT:
        return b""
    return path.read_bytes()


def _examine(cluster: str, path: Path, data: bytes, trusted: TrustedKeys) -> Record:
    """What one file is by itself, without its neighbours."""
    named = ledger.RECORD_NAME.fullmatch(path.name)
    record = Record(path.name, ledger.digest(data), int(named.group(1)) if named else 0)

    def find(kind: str, message: str) -> Record:
        record.findings.append(Finding(cluster, kind, path.name, message))
        return record

    if not data:
        return find("unparsable", "not a regular file with contents of a record's size")
    try:
        envelope = dsse.parse_envelope(data)
    except dsse.EnvelopeError as error:
        return find("unparsable", str(error))
    record.signed_by = _signer(envelope, trusted)
    if record.signed_by is None:
        claimed = [signature.keyid for signature in envelope.signatures]
        if any(keyid in trusted for keyid in claimed):
            find("altered", "the signature does not fit the contents")
        else:
            find("foreign_key", f"signed by {', '.join(claimed)[:140]}, which is not trusted")
    if envelope.payload_type != dsse.PAYLOAD_TYPE:
        return find("unparsable", f"payloadType is {envelope.payload_type!r}, expected {dsse.PAYLOAD_TYPE!r}")
    try:
        document = dsse.parse_json(envelope.payload, "the payload")
    except dsse.EnvelopeError as error:
        return find("unparsable", str(error))
    problems = statement.problems(document)
    if problems:
        return find("unparsable", f"not a record: {'; '.join(problems)}")
    record.document = document
    _check_place(cluster, record, find)
    return record


def _signer(envelope: dsse.Envelope, trusted: TrustedKeys) -> str | None:
    data = envelope.signed_bytes()
    for signature in envelope.signatures:
        for keyid, key in trusted.items():
            if verifies(key, signature.sig, data):
                return keyid
    return None


def _check_place(cluster: str, record: Record, find: Any) -> None:
    """Whether the signed contents belong under this name. Unsigned contents say nothing about their place."""
    if record.signed_by is None:
        return
    if record.predicate["cluster"] != cluster:
        find("misplaced", f"it is a record of {record.predicate['cluster']}")
        return
    record.sequence = record.predicate["sequence"]
    expected = ledger.record_name(record.predicate)
    if record.name != expected:
        find("reordered", f"its signed contents belong in {expected}")


def _check_links(chain: Chain) -> None:
    """Whether the records follow one another without a gap, each sealing the one before."""

    def find(kind: str, record: str, message: str) -> None:
        chain.findings.append(Finding(chain.cluster, kind, record, message))

    before: Record | None = None
    for record in (item for item in chain.records if item.sequence > 0):
        place = before.sequence if before else 0
        if before and record.sequence == place:
            find("duplicate", record.name, f"{before.name} also claims place {place}")
            continue
        if record.sequence > place + 1:
            last = record.sequence - 1
            what = f"record {last}" if last == place + 1 else f"records {place + 1} to {last}"
            find("removed", "", f"{what} before {record.name} missing")
        elif record.signed_by and record.document:
            sealed = record.predicate["previous"]
            if before and sealed != before.digest and not any(f.kind == "altered" for f in before.findings):
                before.findings.append(Finding(
                    chain.cluster, "altered", before.name, f"its bytes are not those that {record.name} sealed"
                ))
            elif not before and sealed is not None:
                find("removed", "", f"{record.name} seals a record before it that is not there")
        before = record


def _check_follow_ups(chain: Chain) -> None:
    """Whether what an approval or a corrective action is about stands in the chain before it, in just these bytes."""
    before: set[str] = set()
    for record in chain.records:
        if record.signed_by and record.predicate.get("operation") in statement.FOLLOW_UPS:
            followed = record.subjects[0]["digest"]["sha256"]
            if followed not in before:
                message = f"it follows {followed}, which is not in the chain before it"
                chain.findings.append(Finding(chain.cluster, "follow_up", record.name, message))
        before.add(record.digest)
