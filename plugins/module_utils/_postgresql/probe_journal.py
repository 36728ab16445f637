# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a write probe: what was acknowledged, what failed, which run is current.

Everything a probe knows lies in these files, so that a probe killed at any instant leaves a complete record.
All times in memory are integers: microseconds since the epoch, UTC.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .probe_time import ProbeError, format_epoch, one_line

# An id is taken before it is recorded. A killed probe may have had one id in flight per client, so the next
# session of the same run leaves this many ids unused. It must be larger than MAX_CLIENTS.
ID_SKIP = 1000
MAX_CLIENTS = 500
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")


@dataclass(frozen=True)
class Layout:
    """Where a probe keeps its files: one directory on the host that runs it, one current run in it."""

    directory: Path

    @property
    def lock(self) -> Path:
        """Holds the worker's process id; the living worker holds an exclusive flock on it."""
        return self.directory / "probe.pid"

    @property
    def log(self) -> Path:
        return self.directory / "worker.log"

    @property
    def program(self) -> Path:
        """The program's own copy, which outlives the Ansible module that started it."""
        return self.directory / "program"

    def acks(self, run: str) -> Path:
        """Lines ``id, client, sent, acknowledged, at`` (tab-separated, times as epoch seconds with microseconds)."""
        return self.directory / f"acks.{run}.tsv"

    def errors(self, run: str) -> Path:
        """Lines ``time, client, id, kind, sqlstate, class, message``."""
        return self.directory / f"errors.{run}.tsv"

    def create(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise ProbeError(f"cannot create the probe's directory {self.directory}: {exc.strerror}") from exc

    def current(self) -> dict[str, Any]:
        """The run kept in this directory (``run``, ``clients``, ``rate``, ``target``), empty if there is none."""
        try:
            data = json.loads((self.directory / "run.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise ProbeError(f"cannot read the probe's directory {self.directory}: {one_line(exc)}") from exc
        return data if isinstance(data, dict) else {}

    def remember(self, values: dict[str, Any]) -> None:
        temporary = self.directory / "run.json.new"
        with temporary.open("w", encoding="utf-8") as handle:
            json.dump(values, handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(self.directory / "run.json")

    def run_id(self, wanted: str | None) -> str | None:
        """The run that is meant: the wanted one, else the one kept in the directory."""
        run = wanted or self.current().get("run")
        if run is not None and not _RUN.match(run):
            raise ProbeError(f"not a run id: {run!r} (letters, digits, '_', '.', '-', at most 63, no leading sign)")
        return run


class Writer:
    """Appends to a run's files. One ``write`` call a line, so that a killed probe loses nothing it was told.

    ``sync`` makes the lines survive a power cut too; it is called about once a second, not once a row.
    Raises OSError when the disk is full: the probe must stop then, as it can no longer keep its promise.
    """

    def __init__(self, layout: Layout, run: str) -> None:
        self._acks = self._open(layout.acks(run))
        self._errors = self._open(layout.errors(run))
        self._dirty = False

    @staticmethod
    def _open(path: Path) -> int:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":  # a power cut tore the last line
            os.write(handle, b"\n")
        return handle

    def _line(self, handle: int, text: str) -> None:
        data = text.encode("utf-8", "replace")
        if os.write(handle, data) != len(data):
            raise OSError("short write")
        self._dirty = True

    def begin(self, now: int, meta: dict[str, Any]) -> None:
        self._line(self._acks, f"#begin\t{format_epoch(now)}\t{json.dumps(meta)}\n")

    def end(self, now: int, reason: str) -> None:
        self._line(self._acks, f"#end\t{format_epoch(now)}\t{reason}\n")

    def stall(self, now: int, late: int) -> None:
        """The probe itself was held up for ``late`` microseconds (a busy machine, a frozen guest)."""
        self._line(self._acks, f"#stall\t{format_epoch(now)}\t{late}\n")

    def ack(self, ident: int, client: int, sent: int, acked: int, at: int) -> None:
        line = f"{ident}\t{client}\t{format_epoch(sent)}\t{format_epoch(acked)}\t{format_epoch(at)}\n"
        self._line(self._acks, line)

    def error(self, now: int, client: int, ident: int, *, kind: str, sqlstate: str, name: str, message: str) -> None:
        self._line(
            self._errors, f"{format_epoch(now)}\t{client}\t{ident}\t{kind}\t{sqlstate}\t{name}\t{one_line(message)}\n"
        )

    def sync(self) -> None:
        if self._dirty:
            self._dirty = False
            os.fdatasync(self._acks)
            os.fdatasync(self._errors)

    def close(self) -> None:
        self.sync()
        os.close(self._acks)
        os.close(self._errors)


@dataclass
class Session:
    """One life of the worker within a run. ``ended`` is ``None`` when it was killed, or still runs."""

    begun: int
    first: int  # index of its first row in the journal
    meta: dict[str, Any] = field(default_factory=dict)
    ended: int | None = None
    stalls: list[int] = field(default_factory=list)


@dataclass
class Journal:
    """A run's acknowledgements in columns (index = order in the file), 40 bytes a row."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    clients: array[int] = field(default_factory=lambda: array("q"))
    sent: array[int] = field(default_factory=lambda: array("q"))
    acked: array[int] = field(default_factory=lambda: array("q"))
    at: array[int] = field(default_factory=lambda: array("q"))
    sessions: list[Session] = field(default_factory=list)
    damaged: int = 0
    size: int = 0  # bytes read: where a later reading may go on


def _us(text: bytes) -> int:
    if text[-7:-6] != b".":
        raise ValueError("not a stamp")
    return int(text.replace(b".", b""))


def read_acks(path: Path, offset: int = 0) -> Journal:
    """Reads a run's acknowledgements from a byte offset on.

    A last line without its newline is still being written, or was torn, and is left out; a damaged line is counted.
    Raises ProbeError when there is no such file.
    """
    journal = Journal(size=offset)
    try:
        handle = path.open("rb")
    except OSError as exc:
        raise ProbeError(f"no acknowledgements to read: {path}: {exc.strerror}") from exc
    with handle:
        handle.seek(offset)
        for line in handle:
            if not line.endswith(b"\n"):
                break
            journal.size += len(line)
            parts = line[:-1].split(b"\t")
            try:
                if line[:1] == b"#":
                    _marker(journal, parts)
                elif len(parts) == 5:
                    row = int(parts[0]), int(parts[1]), _us(parts[2]), _us(parts[3]), _us(parts[4])
                    journal.ids.append(row[0])
                    journal.clients.append(row[1])
                    journal.sent.append(row[2])
                    journal.acked.append(row[3])
                    journal.at.append(row[4])
                elif line != b"\n":
                    journal.damaged += 1
            except (ValueError, IndexError):
                journal.damaged += 1
    return journal


def _marker(journal: Journal, parts: list[bytes]) -> None:
    stamp = _us(parts[1])
    if parts[0] == b"#begin":
        journal.sessions.append(Session(begun=stamp, first=len(journal.ids), meta=json.loads(parts[2])))
    elif journal.sessions and parts[0] == b"#end":
        journal.sessions[-1].ended = stamp
    elif journal.sessions and parts[0] == b"#stall":
        journal.sessions[-1].stalls.append(int(parts[2]))


def read_errors(path: Path) -> Iterator[dict[str, Any]]:
    """Yields ``time`` (µs), ``client``, ``id``, ``kind``, ``sqlstate``, ``class`` and ``message`` of each error."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            parts = line.rstrip("\n").split("\t")
            if len(parts) == 7 and line.endswith("\n"):
                try:
                    stamp, client, ident = _us(parts[0].encode()), int(parts[1]), int(parts[2])
                except ValueError:
                    continue
                yield dict(
                    time=stamp, client=client, id=ident, kind=parts[3], sqlstate=parts[4] or None,
                    message=parts[6], **{"class": parts[5]},
                )  # fmt: skip


def next_id(layout: Layout, run: str) -> int:
    """The first id that no earlier session of this run can have used."""
    if not layout.acks(run).exists():
        return 1
    journal = read_acks(layout.acks(run))
    used: int = max(journal.ids, default=0)
    used = max([used, *(session.meta.get("first_id", 0) for session in journal.sessions)])
    used = max([used, *(error["id"] for error in read_errors(layout.errors(run)))])
    return used + ID_SKIP + 1
