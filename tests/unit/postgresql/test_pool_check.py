# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the balancer's check makes of what members said, and of their silence."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_check import Check, Seen, save_state


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """A check of three members, of whom nothing is known."""
    members = [{"name": name, "host": "192.0.2.1", "port": 5432} for name in ("a", "b", "c")]
    given = {
        "user": "pool_check", "database": "postgres", "passfile": "pass", "port": 1, "interval": 1, "timeout": 2,
        "max_lag": 10, "max_lag_bytes": 0, "members": members,
    }  # fmt: skip
    config = tmp_path / "check.json"
    config.write_text(json.dumps(given))
    return Check(config)


def says(
    check: Check, name: str, replica: bool, position: int, ago: float = 0, closed: bool = False, streams: bool = True
) -> None:
    """Have a member say something."""
    at = time.monotonic() - ago
    member = check.members[name]
    member.seen, member.problem = Seen(at, at + 0.001, replica, closed, position), ""
    if replica and streams:
        member.streamed = at
    check.note(member, member.seen)


def test_what_is_not_known_is_a_no(check: Check) -> None:
    assert check.writes("a") == check.reads("a") == "was not asked yet"
    says(check, "a", replica=False, position=100)
    assert check.writes("a") == ""
    says(check, "a", replica=False, position=100, ago=5.1)
    assert check.writes("a").startswith("did not answer for 5.")


def test_writes_go_to_the_only_one_that_takes_them(check: Check) -> None:
    says(check, "a", replica=False, position=100)
    says(check, "b", replica=True, position=100)
    assert (check.writes("a"), check.writes("b")) == ("", "is a replica")
    says(check, "b", replica=False, position=100)
    assert check.writes("a") == "a and b take writes: end all but one"
    assert check.writes("b") == "b and a take writes: end all but one"
    says(check, "a", replica=False, position=100, closed=True)
    assert (check.writes("a"), check.writes("b")) == ("default_transaction_read_only is on", "")
    # One that fell silent while it took writes is another's no only as long as it is believed.
    says(check, "a", replica=False, position=100, ago=6)
    assert check.writes("b") == ""


def test_a_replica_is_as_late_as_what_it_has_replayed(check: Check) -> None:
    check.timeout = 60
    says(check, "a", replica=False, position=100, ago=30)
    says(check, "a", replica=False, position=200, ago=12)
    says(check, "a", replica=False, position=300, ago=1)
    says(check, "b", replica=True, position=300)
    says(check, "c", replica=True, position=299)
    assert check.reads("b") == ""
    assert check.reads("c") == "lags more than 10 s"
    assert check.reads("a") == "is no replica"
    check.max_lag = 15
    assert check.reads("c") == ""
    check.max_lag_bytes = 1
    says(check, "c", replica=True, position=298)
    assert check.reads("c") == "lags 2 bytes"


def test_an_idle_primary_makes_nobody_late_and_its_absence_everybody(check: Check) -> None:
    check.timeout = 60
    for ago in (100, 50, 1):
        says(check, "a", replica=False, position=100, ago=ago)
        says(check, "b", replica=True, position=100, ago=ago)
    assert check.reads("b") == ""
    check.members["b"].proven -= 20
    check.members["a"].seen = None
    says(check, "b", replica=True, position=100)
    assert check.reads("b") == "", "it has what was there a second ago"
    check.samples.clear()
    check.members["b"].proven -= 20
    assert check.reads("b") == "no primary to compare with"


def test_one_that_does_not_stream_or_is_of_another_history_is_no_replica_to_read_of(check: Check) -> None:
    says(check, "a", replica=False, position=100, ago=2)
    says(check, "b", replica=True, position=150, ago=1)
    assert check.reads("b") == "", "the primary may have gone on"
    says(check, "a", replica=False, position=140)
    assert check.reads("b") == "is ahead of the primary: of another history"
    says(check, "c", replica=True, position=140, streams=False)
    assert check.reads("c") == "does not stream"


def test_the_proofs_of_a_former_primary_do_not_count_for_the_next(check: Check) -> None:
    says(check, "a", replica=False, position=500, ago=3)
    check.members["a"].seen = None
    says(check, "b", replica=False, position=400, ago=2)
    assert list(position for _at, position in check.samples) == [400]


def test_a_state_that_can_not_be_asked_for_is_closed(tmp_path: Path) -> None:
    closed, state = tmp_path / "closed", tmp_path / "state"
    closed.write_text("1\n# be_id\n20 writes 1 a 192.0.2.1 0 0 1 1 0 1 0 0 6 0 1 1 - 5432 - 0 1 127.0.0.1 - 0\n")
    state.write_text("1\n# be_id\n20 writes 1 a 192.0.2.1 2 0\n")
    save_state(str(tmp_path / "nobody"), closed, state)
    assert state.read_text() == closed.read_text()


def test_a_replica_that_was_asked_before_the_primary_is_compared_with_it_later(check: Check) -> None:
    says(check, "b", replica=True, position=100, ago=0.5)
    says(check, "a", replica=False, position=100, ago=0.4)
    assert check.reads("b") == "was not compared with the primary yet"
    says(check, "b", replica=True, position=100)
    assert check.reads("b") == ""
    # One that is late from the beginning is told as late once it could have been compared.
    says(check, "c", replica=True, position=99)
    assert check.reads("c") == "was not compared with the primary yet"
    check.max_lag = 0.1
    assert check.reads("c") == "lags more than 0.1 s"
