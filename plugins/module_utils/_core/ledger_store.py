# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ledger for several controllers: its records at a place that all reach, with a copy on each controller.

    <cluster>/00000001.dsse.json      the file of that place; its name on disk follows from its contents

A place is taken by a write that succeeds once: of two controllers that append at once, one reads on and takes the next
place. No lock is held, so none can be left behind.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core import dsse, ledger, statement
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError

#: The file of a place.
PLACE = re.compile(rf"(\d{{8}}){re.escape(ledger.SUFFIX)}")


def file_of(place: int) -> str:
    """The name of a place's file."""
    return f"{place:08d}{ledger.SUFFIX}"


def sound(names: Iterable[str]) -> list[str]:
    """Those that can be the name of a cluster."""
    return [name for name in names if statement.CLUSTER.fullmatch(name) and name not in statement.RESERVED_CLUSTERS]


class Shared(ABC):
    """Where the records are. What can't be asked raises EvidenceError."""

    #: In words.
    where: str

    @abstractmethod
    def clusters(self) -> list[str]:
        """The clusters that have records there."""

    @abstractmethod
    def claim(self, cluster: str, sequence: int, data: bytes) -> bool:
        """Write a record at its place; false where the place is taken."""

    @abstractmethod
    def places(self, cluster: str) -> list[int]:
        """The places of a chain that are taken, in any order."""

    @abstractmethod
    def read(self, cluster: str, places: Iterable[int]) -> Iterator[bytes]:
        """The records at these places, in their order."""

    @abstractmethod
    def label(self, cluster: str, place: int) -> str:
        """A record's own name there."""

    def sync(self, root: Path, cluster: str, dry_run: bool = False) -> list[str]:
        """Bring to each side what only the other has, in order; says what that is. The caller holds the chain's lock.

        :raises EvidenceError: when both sides hold different records at the same place
        """
        folder = root / cluster
        there = self.places(cluster)
        here = {int(path.name[:8]): path for path in ledger.record_files(folder)
                if ledger.RECORD_NAME.fullmatch(path.name)}
        common = max(set(here) & set(there), default=0)
        if common and self._one(cluster, common) != here[common].read_bytes():
            raise EvidenceError(f"record {common} of {cluster} is another one here than in {self.where}: two ledgers "
                                "were written apart; keep both, and verify each by itself")
        wanted, own = sorted(set(there) - set(here)), sorted(set(here) - set(there))
        moved = [f"{cluster}/{place:08d} from the store" for place in wanted]
        moved += [f"{cluster}/{place:08d} to the store" for place in own]
        if dry_run:
            return moved
        for place, data in zip(wanted, self.read(cluster, wanted)):
            write_atomic(folder / self._name(cluster, place, data), data.decode(), ledger.MODE)
        for place in own:
            data = here[place].read_bytes()
            if not self.claim(cluster, place, data) and self._one(cluster, place) != data:
                raise EvidenceError(f"record {place} of {cluster} was written to {self.where} by somebody else just "
                                    "now: run again, and keep what is here")
        return moved

    def _one(self, cluster: str, place: int) -> bytes:
        return next(self.read(cluster, [place]))

    def _name(self, cluster: str, place: int, data: bytes) -> str:
        """The name on disk, by what the record says; it is not trusted further than that."""
        where = f"{self.label(cluster, place)} in {self.where}"
        try:
            said = dsse.parse_json(dsse.parse_envelope(data).payload, "the payload")["predicate"]
            name = ledger.record_name(said)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise EvidenceError(f"{where} is no record: {exc}") from exc
        if not ledger.RECORD_NAME.fullmatch(name) or int(name[:8]) != place:
            raise EvidenceError(f"{where} belongs elsewhere, by what it says: {name[:80]}")
        return name
