# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab was asked to be (state.json in its run directory), and the lock that keeps invocations apart."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.lab.plan import Paths
from tests.lab.run import LabError, wait_until

# One lock for the machine, not for a cache: bridge, subnet and control group exist once.
LOCK = Path("/run/boringdb-lab.lock")
LOCK_SECONDS = 300


@dataclass(frozen=True)
class Host:
    """A host that exists (running or not). `base` is the name of its base tree under bases/."""

    name: str
    address: str
    suite: str
    base: str


@dataclass(frozen=True)
class Cut:
    """A partition: `host` from `other`, or from everything when other is None."""

    host: str
    other: str | None = None

    def concerns(self, name: str) -> bool:
        """Return whether healing host `name` ends this cut."""
        return name in (self.host, self.other)


@dataclass
class State:
    """All hosts and cuts of the lab; whether a host runs is asked from the kernel, never from here."""

    hosts: dict[str, Host] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)

    def host(self, name: str) -> Host:
        """Return host `name` or raise LabError."""
        if name not in self.hosts:
            known = ", ".join(self.hosts) or "none"
            raise LabError(f"no host {name!r} in the lab (hosts: {known}): create it with 'up {name}'")
        return self.hosts[name]

    def dump(self) -> str:
        """Return the state as JSON."""
        document = {
            "version": 1,
            "hosts": [asdict(host) for host in self.hosts.values()],
            "cuts": [asdict(cut) for cut in self.cuts],
        }
        return json.dumps(document, indent=2) + "\n"


def parse(text: str) -> State:
    """Return the State that `text` (JSON of dump()) describes; ValueError when it is none."""
    try:
        document = json.loads(text)
        if document["version"] != 1:
            raise ValueError(f"version {document['version']}")
        return State({h["name"]: Host(**h) for h in document["hosts"]}, [Cut(**c) for c in document["cuts"]])
    except (KeyError, TypeError) as exc:
        raise ValueError(f"unexpected content: {exc}") from exc


def load(where: Paths) -> State:
    """Return the lab's state, empty when there is no lab."""
    try:
        return parse(where.state.read_text())
    except FileNotFoundError:
        return State()
    except ValueError as exc:
        raise LabError(f"{where.state} cannot be read ({exc}): run 'down' to start afresh") from exc


def save(where: Paths, state: State) -> None:
    """Replace the state file in one step, so that a killed invocation leaves the old or the new one."""
    where.run.mkdir(parents=True, exist_ok=True)
    new = where.state.with_suffix(".new")
    new.write_text(state.dump())
    new.replace(where.state)


@contextmanager
def lock(verb: str) -> Iterator[None]:
    """Hold the machine's lab lock; wait for another invocation, LabError after LOCK_SECONDS."""
    with LOCK.open("a+") as handle:

        def taken() -> bool:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not taken():
            handle.seek(0)
            holder = handle.read().strip() or "another invocation"
            print(f"lab: waiting for {holder}", file=sys.stderr)
            wait_until(taken, LOCK_SECONDS, f"{holder} holds {LOCK}", every=0.1)
        handle.truncate(0)
        handle.write(f"'{verb}' (process {os.getpid()})\n")
        handle.flush()
        yield
