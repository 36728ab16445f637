# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger on disk: one folder per cluster, one signed file per operation, each sealing the one before.

    LEDGER/keys/<key id>.pem                                             public keys, a convenience only
    LEDGER/<cluster>/00000001-restore_drill-20260131T031500Z.dsse.json   the time is that of `finished`
    LEDGER/<cluster>/.lock                                               held while one record is appended

A record is whole or not there: it is written beside, synced, and renamed, under a lock per cluster.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.boringdb.ops.plugins.module_utils._core import dsse, statement
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import sync_directory, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError, PrivateKey

KEYS = "keys"
LOCK = ".lock"
SUFFIX = ".dsse.json"
RECORD_NAME = re.compile(r"(\d{8})-([a-z][a-z0-9_]*)-(\d{8}T\d{6}Z)\.dsse\.json")
TEMPORARY = re.compile(r"\..*\.tmp")
MODE = 0o644  # records are for auditors and hold no secret


@dataclass(frozen=True)
class Appended:
    """What :func:`append` wrote, or would write.

    :param head: sha256 of the record's file: the digest to witness outside
    :param changed: false when this very record already stands in the chain
    """

    path: Path
    sequence: int
    previous: str | None
    head: str
    statement: dict[str, Any]
    changed: bool


class Store(Protocol):
    """A place that several controllers share, see ``ledger_store``."""

    def sync(self, root: Path, cluster: str) -> object:
        """Bring to each side what only the other has."""

    def claim(self, cluster: str, sequence: int, data: bytes) -> bool:
        """Write a record at its place; false where the place is taken."""


def record_name(predicate: Mapping[str, Any]) -> str:
    """The file name of a record; it follows wholly from what is signed, so that renaming shows."""
    finished = statement.parse_time(predicate["finished"]).strftime("%Y%m%dT%H%M%SZ")
    return f"{predicate['sequence']:08d}-{predicate['operation']}-{finished}{SUFFIX}"


def digest(data: bytes) -> str:
    """What ``previous`` and a chain's head are: sha256 of an envelope file's bytes."""
    return hashlib.sha256(data).hexdigest()


def clusters(ledger: Path) -> list[str]:
    """The clusters that have a folder in the ledger."""
    if not ledger.is_dir():
        return []
    return sorted(entry.name for entry in ledger.iterdir() if entry.is_dir() and statement.CLUSTER.fullmatch(entry.name)
                  and entry.name not in statement.RESERVED_CLUSTERS)


def record_files(folder: Path) -> list[Path]:
    """Every file that claims to be a record, by name; leftovers of killed writers and other files are not."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX) and not path.name.startswith("."))


def append(
    ledger: Path, record: Mapping[str, Any], key: PrivateKey, *, lock_seconds: float = 60, dry_run: bool = False,
    guard: Callable[[], None] | None = None, store: Store | None = None,
) -> Appended:
    """Signs a record and appends it to its cluster's chain.

    Giving the very same record again (a rerun, a retried job) finds it and changes nothing.

    :param store: where other controllers append to the same chain
    :param guard: asked while the chain is locked, before anything is written; raises what speaks against the record
    :raises EvidenceError: when the record is not sound (every problem at once), or the ledger cannot be written
    """
    prepared = statement.prepare(record)
    _refuse_unsound(prepared)
    folder = ledger / prepared["cluster"]
    try:
        if dry_run:
            return _compose(folder, prepared, key)[0]
        _store_key(ledger, key)
        folder.mkdir(exist_ok=True)
        with locked(folder, lock_seconds):
            _clean(folder)
            while True:
                if store:
                    store.sync(ledger, prepared["cluster"])
                if guard:
                    guard()
                composed, data = _compose(folder, prepared, key)
                # Where the place was taken meanwhile, what took it is read, and the next place is tried.
                if not store or not composed.changed or store.claim(prepared["cluster"], composed.sequence, data):
                    break
            if composed.changed:
                write_atomic(composed.path, data.decode(), MODE)
            sync_directory(ledger)
            return composed
    except OSError as error:
        raise EvidenceError(
            f"ledger {ledger} cannot be written ({error.strerror}: {error.filename}): "
            "check that the folder is writable and the disk not full; nothing was recorded"
        ) from error


@contextlib.contextmanager
def locked(folder: Path, seconds: float, shared: bool = False) -> Iterator[None]:
    """Holds the chain's lock. The kernel drops it when the holder dies.

    A reader (``shared``) that may not create the lock file goes on without it.

    :raises EvidenceError: when another writer holds it for longer than ``seconds``
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT, MODE)
    except OSError:
        if not shared:
            raise
        yield
        return
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise EvidenceError(
                        f"another writer has held {folder / LOCK} for {seconds:g} s: wait for it to end and run again"
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def _refuse_unsound(prepared: Mapping[str, Any]) -> None:
    draft = statement.build(prepared, sequence=1, previous=None)
    found = statement.problems(draft)
    found += [f"{place} looks like a secret: leave it out" for place in statement.secrets_in(prepared)]
    if found:
        raise EvidenceError(f"the record was not signed, correct it and run again: {'; '.join(found)}")


def _compose(folder: Path, prepared: Mapping[str, Any], key: PrivateKey) -> tuple[Appended, bytes]:
    """The next record of the chain as it stands, or the one that already says the same."""
    files = record_files(folder)
    for path in files:
        known = _same(path, prepared)
        if known:
            data = path.read_bytes()
            found = known["predicate"]
            return Appended(path, found["sequence"], found["previous"], digest(data), known, changed=False), data
    # A planted or broken file must not keep the next record from being written; verification names it.
    last = next((path for path in reversed(files) if RECORD_NAME.fullmatch(path.name)), None)
    sequence = int(last.name[:8]) + 1 if last else 1
    previous = digest(last.read_bytes()) if last else None
    document = statement.build(prepared, sequence, previous)
    payload = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    data = dsse.seal(payload, key.keyid, key.sign)
    return Appended(folder / record_name(document["predicate"]), sequence, previous, digest(data), document, True), data


def _same(path: Path, prepared: Mapping[str, Any]) -> dict[str, Any] | None:
    """The statement at ``path`` when it says exactly what ``prepared`` says."""
    match = RECORD_NAME.fullmatch(path.name)
    if not match or path.name != record_name({**prepared, "sequence": int(match.group(1))}):
        return None
    try:
        known = dsse.parse_json(dsse.parse_envelope(path.read_bytes()).payload, "the payload")
        place = known["predicate"]["sequence"], known["predicate"]["previous"]
    except (dsse.EnvelopeError, KeyError, TypeError):
        return None
    # Through JSON, so that only what is written down is compared.
    same = known == json.loads(json.dumps(statement.build(prepared, *place)))
    return known if same else None


def _store_key(ledger: Path, key: PrivateKey) -> None:
    path = ledger / KEYS / f"{key.keyid}.pem"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, key.public_pem().decode(), MODE)
        sync_directory(ledger)
        sync_directory(ledger.parent)


def _clean(folder: Path) -> None:
    """Removes what killed writers left. Only the lock's holder writes here, so nothing of it is in use."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name):
            path.unlink()
