# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an estate as a file for Prometheus' node_exporter: each metric one series a cluster."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Cluster, Estate

Value = Callable[[Cluster, datetime], float]


def _seconds(when: datetime | None) -> float:
    return when.timestamp() if when else 0.0


def _measured(cluster: Cluster, name: str) -> float:
    value = cluster.last.measured(name) if cluster.last else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _ended(cluster: Cluster, verified: bool) -> float:
    entry = cluster.last_verified if verified else cluster.last
    return _seconds(entry.finished if entry else None)


#: Names, what they are, and how they are told. A cluster without a drill is 0 or NaN, never missing.
METRICS: dict[str, tuple[str, Value]] = {
    "boringdb_drill_last_verified_timestamp_seconds": (
        "When the last verified restore drill ended, 0 for never.", lambda cluster, _now: _ended(cluster, True)),
    "boringdb_drill_last_timestamp_seconds": (
        "When the last restore drill ended, whatever its verdict, 0 for never.",
        lambda cluster, _now: _ended(cluster, False)),
    "boringdb_drill_due_timestamp_seconds": (
        "When the next verified restore drill must have ended, 0 where there never was one.",
        lambda cluster, _now: _seconds(cluster.due)),
    "boringdb_drill_overdue": (
        "Whether the last verified restore drill is older than allowed when this was written, or there is none.",
        lambda cluster, now: float(cluster.due is None or now > cluster.due)),
    "boringdb_drill_verified": (
        "Whether the verdict of the last restore drill is verified.",
        lambda cluster, _now: float(cluster.last is not None and cluster.last.verdict == "verified")),
    "boringdb_drill_rto_seconds": (
        "RTO of the last restore drill, NaN where it measured none.",
        lambda cluster, _now: _measured(cluster, "rto_seconds")),
    "boringdb_drill_rpo_seconds": (
        "RPO of the last restore drill, NaN where it measured none.",
        lambda cluster, _now: _measured(cluster, "rpo_seconds")),
    "boringdb_failover_drill_last_timestamp_seconds": (
        "When the last failover drill ended, whatever its verdict, 0 for never.",
        lambda cluster, _now: _seconds(moved.finished if (moved := cluster.last_failover_drill) else None)),
    "boringdb_failover_drill_verified": (
        "Whether the verdict of the last failover drill is verified, NaN where there was none.",
        lambda cluster, _now: (
            float(moved.verdict == "verified") if (moved := cluster.last_failover_drill) else math.nan)),
    "boringdb_evidence_sound": (
        "Whether nothing is wrong with the cluster's chain of evidence.",
        lambda cluster, _now: float(all(item.kind == "empty" for item in cluster.chain.findings))),
    "boringdb_cluster_attention": (
        "Whether anything of the above, or an objective that was missed, needs a person.",
        lambda cluster, _now: float(cluster.state != "verified")),
}  # fmt: skip


def exposition(estate: Estate) -> str:
    """The file's text. It changes with what is known and with what is overdue, not with the time alone."""
    lines: list[str] = []
    for name, (what, value) in METRICS.items():
        lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
        lines += [
            f'{name}{{cluster="{_label(cluster.name)}"}} {_number(value(cluster, estate.generated))}'
            for cluster in sorted(estate.clusters, key=lambda one: one.name)
        ]
    return "".join(f"{line}\n" for line in lines)


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: Any) -> str:
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
