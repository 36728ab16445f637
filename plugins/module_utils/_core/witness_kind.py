# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every kind of witness works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FOLDER = "witness"  # in a cluster's folder: what a kind keeps beside the chain


@dataclass(frozen=True)
class Head:
    """The last record of a chain in which nothing is wrong."""

    cluster: str
    sequence: int
    sha256: str
    path: Path

    @property
    def name(self) -> str:
        """Under which it is kept."""
        return f"{self.sequence:08d}-{self.sha256}"


@dataclass(frozen=True)
class Witness:
    """A head that was found with a witness.

    :param at: when it was left there, as the witness says
    :param proves: what follows from it, in one line
    :param problem: why nothing follows from it
    """

    kind: str
    cluster: str
    sequence: int
    head: str
    at: str
    where: str
    proves: str
    problem: str = ""


class Kind(Protocol):
    """One way to witness."""

    def leave(self, head: Head, check_mode: bool) -> bool:
        """Leave a head there; whether it was not there yet."""

    def found(self) -> list[Witness]:
        """Every head of any cluster that is there."""
