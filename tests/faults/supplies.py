"""What a ground supplies for the faults that both grounds show: each does the damage its own way, and undoes it.

Everything here is a context: it yields the drill's variables that belong to it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

Variables = dict[str, Any]
Damage = AbstractContextManager[Variables]


class Field(Protocol):
    """A copy of the repository as it was after the load, with one backup and some segments of WAL behind it.

    `number` counts those segments from the oldest, 0, or from the newest, -1.
    """

    def flipped(self, relation: str) -> Damage:
        """A byte flipped in the backup's file of a relation."""

    def without(self, relation: str) -> Damage:
        """The backup without its file of a relation."""

    def without_manifest(self) -> Damage:
        """The backup without the tool's manifest."""

    def unfinished(self) -> Damage:
        """What a killed backup leaves behind, and no other one."""

    def unreachable(self) -> Damage:
        """The repository's path is not there."""

    def without_archive(self) -> Damage:
        """The WAL archive is not there."""

    def without_segment(self, number: int) -> Damage:
        """A segment missing."""

    def truncated_segment(self, number: int) -> Damage:
        """A segment cut to a half."""

    def flipped_segment(self, number: int) -> Damage:
        """A byte flipped in a segment."""

    def zeroed_segment(self, number: int) -> Damage:
        """A segment overwritten with zeros."""

    def foreign_segment(self, number: int) -> Damage:
        """A segment of the same name from another cluster in its place."""

    def foreign_backup(self) -> Damage:
        """Another cluster's repository in place of this one's."""


class DrillHost(Protocol):
    """The host that drills run on."""

    def port_taken(self) -> Damage:
        """Another program listens on the copy's port."""

    def small_disk(self, options: str) -> Damage:
        """The copies' place is a filesystem of its own, with these mount options of tmpfs. Raises NotHere."""

    def hindered(self) -> Damage:
        """Somebody else's file comes into the copy while recovery runs. Raises NotHere."""

    def unreachable(self) -> Damage:
        """It does not answer."""

    def without_amcheck(self) -> Damage:
        """The extension amcheck is not installed."""
