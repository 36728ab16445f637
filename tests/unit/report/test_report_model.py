from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import keys, ledger, report, say
from make_estate import NOW
from samples import Ground, forge, record, stamp


def read(ground, now=NOW, **options):
    options = {"title": "t", "overdue_days": 7, **options}
    return report.read_estate(ground.ledger, keys.load_trusted([ground.public]), now=now, **options)


def add(ground, days_ago, **changes):
    started = NOW - timedelta(days=days_ago, seconds=300)
    values = {"started": stamp(started), "finished": stamp(started + timedelta(seconds=300)), **changes}
    return ledger.append(ground.ledger, record(**values), ground.key).path


def state(ground, **options):
    found, = read(ground, **options).clusters
    return found.state


FAILED = [{"name": "rows", "required": True, "status": "failed", "expected": 5, "actual": 4}]
SKIPPED = [{"name": "rows", "required": True, "status": "skipped", "message": "no amcheck"}]


def test_every_state_the_worst_first(estate):
    assert [(cluster.name, cluster.state) for cluster in estate.clusters] == [
        ("billing", "tampered"), ("orders", "failed"), ("sessions", "error"), ("payments", "never"),
        ("search", "overdue"), ("warehouse", "missed"), ("customers", "verified"), ("ledger-eu", "verified"),
    ]
    assert [cluster.name for cluster in estate.attention] == [item.name for item in estate.clusters[:6]]
    assert all(bool(cluster.problems) == (cluster.state != "verified") for cluster in estate.clusters)


def test_due_is_counted_from_the_last_verified_drill(ground):
    add(ground, 6)
    assert state(ground) == "verified"
    add(ground, 1, checks=FAILED)
    found, = read(ground).clusters
    assert found.state == "failed"
    assert found.due == NOW + timedelta(days=1)
    assert found.problems == ["last drill failed: rows failed, expected 5, found 4"]
    late, = read(ground, now=NOW + timedelta(days=1, seconds=1)).clusters
    assert len(late.problems) == 2 and late.problems[1].startswith("last verified drill 7 days ago")


@pytest.mark.parametrize(("days", "expected"), [(6.99, "verified"), (7.01, "overdue")])
def test_overdue(ground, days, expected):
    add(ground, days)
    assert state(ground) == expected
    assert state(ground, overdue_days=8) == "verified"


def test_a_skipped_required_check_is_inconclusive_and_says_why(ground):
    add(ground, 1, checks=SKIPPED)
    found, = read(ground).clusters
    assert found.state == "error"
    assert found.problems[0] == "last drill error: rows not run (no amcheck)"


def test_other_operations_prove_no_restore(ground):
    add(ground, 0, operation="switchover")
    found, = read(ground).clusters
    assert found.state == "never"
    assert (len(found.drills), len(found.others)) == (0, 1)


def test_a_record_that_nobody_vouches_for_does_not_count(ground):
    add(ground, 3, checks=FAILED)
    path = add(ground, 1, checks=FAILED)
    forge(path, lambda document: document["predicate"].update(
        checks=[{**FAILED[0], "status": "passed"}], verdict="verified"))
    found, = read(ground).clusters
    assert found.state == "tampered"
    assert found.last_verified is None and found.last is not None
    assert found.last.record.sequence == 1


def test_signed_by_a_stranger_does_not_count(ground, tmp_path):
    stranger = Ground.create(tmp_path / "stranger")
    ledger.append(ground.ledger, record(started=stamp(NOW), finished=stamp(NOW)), stranger.key)
    found, = read(ground).clusters
    assert (found.state, found.last) == ("tampered", None)


def test_a_missed_objective_is_not_all_well(ground):
    add(ground, 1, measurements={"rto_seconds": 901, "rpo_seconds": 1})
    found, = read(ground).clusters
    assert (found.state, found.problems) == ("missed", ["RTO 15 min 01 s, objective 15 min"])


def test_a_witness_that_is_gone_is_shown(ground):
    add(ground, 1)
    assert state(ground, witnesses={"orders": ["0" * 64]}) == "tampered"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.131, "0.13 s"), (0.999, "1 s"), (41.25, "41.2 s"), (59.96, "1 min"), (187, "3 min 07 s"),
     (900, "15 min"), (3599.7, "1 h"), (7500, "2 h 05 min"), (604800, "7 d"), (90000, "1 d 1 h"), (-5, "-5 s"),
     (None, "–"), ("x", "–"), (True, "–")],
)
def test_spans(seconds, text):
    assert say.span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (812, "812 B"), (3_200_000_000, "3.2 GB"), (999_700, "1.0 MB"), (None, "–")]
)
def test_sizes(count, text):
    assert say.size(count) == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [(1, "less than a day ago"), (24, "1 day ago"), (71, "2 days ago"), (-1, "in less than a day"), (-24, "in 1 day"),
     (-25, "in 1 day"), (-49, "in 2 days"),
     (-167.99, "in 7 days"), (0, "less than a day ago")],
)
def test_ages(hours, text):
    assert say.ago(NOW - timedelta(hours=hours), NOW) == text


@pytest.mark.parametrize(("members", "said"), [
    ([], ""),
    ([("db1", "unknown", "unknown"), ("db2", "unknown", "unknown")], "2 members"),
    ([("db1", "primary", "running")], "primary db1"),
    ([("db1", "replica", "running"), ("db2", "primary", "running"), ("db3", "replica", "running")],
     "primary db2, 2 replicas"),
    ([("db1", "replica", "running"), ("db2", "unknown", "stopped"), ("db3", "unknown", "unknown")],
     "no primary, 1 replica, 2 not running or silent"),
    ([("db1", "primary", "running"), ("db2", "primary", "running")], "primary db1, db2"),
])
def test_members_are_said_in_a_few_words(ground, members, said):
    add(ground, 0)
    known = {"orders": [report.Member(*one) for one in members], "elsewhere": [report.Member("x")]}
    found, = read(ground, members=known).clusters
    assert found.topology == said
