# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a write probe measured: commits, gaps between them, errors. Computed from its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .probe_journal import Journal, Layout, Session, read_acks, read_errors
from .probe_time import iso


@dataclass(frozen=True)
class Gap:
    """A time without an acknowledged commit (µs). ``open``: no commit ended it before the probe stopped."""

    begin: int
    end: int
    open: bool = False

    @property
    def length(self) -> int:
        return self.end - self.begin


def _ms(us: int | None) -> float | None:
    return None if us is None else round(us / 1000, 3)


def _longest(stamps: list[int]) -> Gap | None:
    gaps = (Gap(before, after) for before, after in zip(stamps, stamps[1:]))
    return max(gaps, key=lambda gap: gap.length, default=None)


def session_gap(session: Session, stamps: list[int], until: int | None) -> Gap | None:
    """The longest gap of one session, whose sorted acknowledgement stamps are given.

    The time from the last commit to ``until`` (the session's end, or now) counts too: a server that went away and
    never came back must not look like a small gap. The time before the first commit does not, unless there is none.
    """
    longest = _longest(stamps)
    if until is not None:
        tail = Gap(stamps[-1] if stamps else session.begun, until, open=True)
        if longest is None or tail.length > longest.length:
            longest = tail
    return longest


def _by_client(journal: Journal, first: int, last: int) -> dict[int, list[int]]:
    clients: dict[int, list[int]] = {}
    for index in range(first, last):
        clients.setdefault(journal.clients[index], []).append(journal.acked[index])
    return clients


def _error_facts(layout: Layout, run: str) -> dict[str, Any]:
    kinds = dict.fromkeys(("read_only", "connect", "timeout", "warning", "write"), 0)
    classes: dict[str, int] = {}
    first: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    for error in read_errors(layout.errors(run)):
        kinds[error["kind"]] = kinds.get(error["kind"], 0) + 1
        classes[error["class"]] = classes.get(error["class"], 0) + 1
        first = first or error
        last = error
    return {
        "errors": sum(kinds.values()),
        "read_only_errors": kinds["read_only"],
        "errors_by_kind": kinds,
        "errors_by_class": classes,
        "first_error": first and {**first, "time": iso(first["time"])},
        "last_error": last and {**last, "time": iso(last["time"])},
    }


def summarise(layout: Layout, run: str, now: int | None = None) -> dict[str, Any]:
    """The figures of a run over all its sessions. ``now`` (µs) is given while the worker runs, else ``None``.

    Gaps are never taken across two sessions. Raises ProbeError when the run left no file.
    """
    journal = read_acks(layout.acks(run))
    longest: Gap | None = None
    per_client: Gap | None = None
    active = interrupted = 0
    stalls: list[int] = []
    for number, session in enumerate(journal.sessions):
        is_last = number + 1 == len(journal.sessions)
        end = len(journal.ids) if is_last else journal.sessions[number + 1].first
        stamps = sorted(journal.acked[session.first : end])
        until = session.ended if session.ended is not None else (now if is_last else None)
        gap = session_gap(session, stamps, until)
        if gap and (longest is None or gap.length > longest.length):
            longest = gap
        for own in _by_client(journal, session.first, end).values():
            gap = _longest(sorted(own))
            if gap and (per_client is None or gap.length > per_client.length):
                per_client = gap
        interrupted += until is None
        finish = until if until is not None else (stamps[-1] if stamps else session.begun)
        active += max(0, finish - session.begun)
        stalls += session.stalls
    took = sorted(acked - sent for sent, acked in zip(journal.sent, journal.acked))
    meta = journal.sessions[-1].meta if journal.sessions else {}
    count = len(journal.ids)
    return {
        "run": run,
        "clients": meta.get("clients"),
        "rate": meta.get("rate"),
        "target": meta.get("target"),
        "synchronous_commit": meta.get("synchronous_commit"),
        "acknowledged": count,
        "first_ack": iso(min(journal.acked, default=None)),
        "last_ack": iso(max(journal.acked, default=None)),
        "seconds": round(active / 1_000_000, 3),
        "rows_per_second": round(count * 1_000_000 / active, 1) if active else 0.0,
        "largest_gap_ms": _ms(longest.length) if longest else None,
        "largest_gap_from": iso(longest.begin) if longest else None,
        "largest_gap_to": iso(longest.end) if longest else None,
        "largest_gap_open": longest.open if longest else False,
        "largest_client_gap_ms": _ms(per_client.length) if per_client else None,
        "commit_ms": {
            "p50": _ms(took[count // 2]) if took else None,
            "p99": _ms(took[count * 99 // 100]) if took else None,
            "max": _ms(took[-1]) if took else None,
        },
        **_error_facts(layout, run),
        "sessions": len(journal.sessions),
        "interrupted_sessions": interrupted,
        "probe_stalls": len(stalls),
        "probe_stall_max_ms": _ms(max(stalls, default=0)),
        "damaged_lines": journal.damaged,
    }
