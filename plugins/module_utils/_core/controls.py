# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operation supports which control: the only place. docs/evidence.md has the reasons and the sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """One control of one framework.

    :param asks: what of it a record can speak for, in our words
    :param needed: the operation without a verified run of which there is a gap; empty where that is for others to say,
        because not every cluster has a replica
    :param operations: every operation that supports it
    """

    name: str
    title: str
    asks: str
    needed: str
    operations: tuple[str, ...]


_DRILL = "restore_drill"
_FAILOVER_DRILL = "failover_drill"
CONTROLS = (
    Control("SOC2-A1.2", "SOC 2, A1.2", "backup processes and recovery infrastructure are operated and monitored",
            _DRILL, (_DRILL, "dump", _FAILOVER_DRILL, "failover")),
    Control("SOC2-A1.3", "SOC 2, A1.3", "recovery procedures are tested", _DRILL, (_DRILL, _FAILOVER_DRILL)),
    Control("ISO27001-A.8.13", "ISO/IEC 27001:2022, A.8.13", "backup copies are maintained and regularly tested",
            _DRILL, (_DRILL, "dump")),
    Control("ISO27001-A.8.14", "ISO/IEC 27001:2022, A.8.14", "what is redundant takes over when it has to", "",
            (_FAILOVER_DRILL, "failover", "switchover")),
    Control("HIPAA-164.308(a)(7)", "HIPAA, 45 CFR 164.308(a)(7)",
            "exact copies are retrievable, lost data is restored, the plan is tested", _DRILL,
            (_DRILL, "dump", "restore", _FAILOVER_DRILL)),
    Control("DORA Art. 11", "DORA, (EU) 2022/2554, Art. 11",
            "switching over to what is redundant is tested", "", (_FAILOVER_DRILL, "switchover")),
    Control("DORA Art. 12", "DORA, (EU) 2022/2554, Art. 12",
            "restoring is tested periodically, and what was restored is checked", _DRILL, (_DRILL, "dump", "restore")),
)


def supported(operation: str) -> list[str]:
    """The controls that a record of this operation names unless it is told otherwise."""
    return [control.name for control in CONTROLS if operation in control.operations]
