from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import keys, ledger, statement
from samples import record, statement_of

FAILED = {"name": "rows", "required": True, "status": "failed"}


def test_the_statement_carries_everything(ground):
    path = ground.append()[0]
    document = statement_of(path)
    predicate = document["predicate"]
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "urn:boringdb.ops:operation:v1"
    assert document["subject"] == record()["subjects"]
    assert set(predicate) == {
        "operation", "cluster", "engine", "versions", "operator", "started", "finished", "objectives", "measurements",
        "checks", "verdict", "error", "controls", "approval", "corrective_action", "sequence", "previous",
    }
    assert (predicate["sequence"], predicate["previous"], predicate["verdict"]) == (1, None, "verified")
    assert predicate["controls"] == [
        "SOC2-A1.2", "SOC2-A1.3", "ISO27001-A.8.13", "HIPAA-164.308(a)(7)", "DORA Art. 12"
    ]
    assert path.name == "00000001-restore_drill-20261001T030412Z.dsse.json"


def test_the_chain_seals_the_bytes_before(ground):
    paths = ground.append(3)
    for before, after in zip(paths, paths[1:]):
        assert statement_of(after)["predicate"]["previous"] == ledger.digest(before.read_bytes())


def test_the_same_record_again_changes_nothing(ground):
    first = ledger.append(ground.ledger, record(), ground.key)
    ground.append(1, first_day=1)
    again = ledger.append(ground.ledger, record(), ground.key)
    assert (first.changed, again.changed) == (True, False)
    assert (again.path, again.sequence, again.head) == (first.path, 1, first.head)
    assert len(ledger.record_files(ground.ledger / "orders")) == 2


def test_a_dry_run_says_what_would_be_and_writes_nothing(ground):
    planned = ledger.append(ground.ledger, record(), ground.key, dry_run=True)
    assert not ground.ledger.exists()
    done = ledger.append(ground.ledger, record(), ground.key)
    assert (planned.path, planned.head, planned.statement) == (done.path, done.head, done.statement)


def test_every_problem_is_named_at_once(ground):
    wrong = record(
        cluster="../elsewhere", operation="Drill", engine="", started="yesterday", subjects=[{"name": "x"}],
        objectives={"rto_seconds": "soon"}, measurements={"Bad Name": 1, "rows": [1], "rpo_seconds": float("nan")},
        checks=[{"name": "a", "required": True}], approval=7, colour="blue",
    )
    with pytest.raises(keys.EvidenceError) as caught:
        ledger.append(ground.ledger, wrong, ground.key)
    text = str(caught.value)
    for part in ("cluster is", "operation is", "engine must", "started:", "subjects[0]", "rto_seconds", "Bad Name",
                 "measurements.rows", "rpo_seconds", "missing keys status", "approval", "colour"):
        assert part in text, part
    assert "\n" not in text
    assert not ground.ledger.exists()


@pytest.mark.parametrize("cluster", ["keys", "", ".", "..", "a/b", "-x", "ü", "a" * 101])
def test_a_cluster_that_cannot_be_a_folder_is_refused(ground, cluster):
    with pytest.raises(keys.EvidenceError, match="cluster"):
        ledger.append(ground.ledger, record(cluster=cluster), ground.key)


def test_a_claimed_verdict_must_be_what_the_checks_say(ground):
    with pytest.raises(keys.EvidenceError, match="verdict is verified, but the checks say failed"):
        ledger.append(ground.ledger, record(checks=[FAILED], verdict="verified"), ground.key)
    done = ledger.append(ground.ledger, record(checks=[FAILED]), ground.key)
    assert done.statement["predicate"]["verdict"] == "failed"


def test_an_error_without_checks_is_recorded_as_error(ground):
    done = ledger.append(ground.ledger, record(checks=[], error="disk full"), ground.key)
    assert done.statement["predicate"]["verdict"] == "error"
    assert ground.kinds() == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"measurements": {"db_password": "x"}}, "measurements.db_password"),
        ({"measurements": {"note": "postgresql://app:hunter2@db/orders"}}, "measurements.note"),
        ({"measurements": {"note": "-----BEGIN PRIVATE KEY-----\nMC4C"}}, "measurements.note"),
        ({"checks": [{**FAILED, "actual": "token=abc"}]}, "checks[0].actual"),
        ({"checks": [{**FAILED, "expected": "passphrase: abc"}]}, "checks[0].expected"),
        ({"approval": {"by": "x", "api_key": "y"}}, "approval.api_key"),
        ({"versions": {"engine": "1", "tools": {"secret": "y"}}}, "versions.tools.secret"),
    ],
)
def test_what_looks_like_a_secret_is_refused(ground, changes, place):
    with pytest.raises(keys.EvidenceError) as caught:
        ledger.append(ground.ledger, record(**changes), ground.key)
    assert f"{place} looks like a secret" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_prose_is_redacted_rather_than_lost(ground):
    said = "could not connect to postgresql://app:hunter2@db/orders: password authentication failed, password=hunter3"
    done = ledger.append(ground.ledger, record(checks=[{**FAILED, "message": said}], error=said), ground.key)
    text = done.path.read_text() + str(statement_of(done.path))
    assert "hunter" not in text
    assert "password authentication failed" in text


def test_numbers_that_came_as_text_are_numbers_again(ground):
    done = ledger.append(
        ground.ledger, record(objectives={"rto_seconds": "900"}, measurements={"rto_seconds": "12.5", "label": "12"}),
        ground.key,
    )
    predicate = done.statement["predicate"]
    assert predicate["objectives"] == {"rto_seconds": 900}
    assert predicate["measurements"] == {"rto_seconds": 12.5, "label": "12"}


@pytest.mark.parametrize("text", ["2026-01-31T03:15:00Z", "2026-01-31 03:15:00+00:00", "2026-01-31T03:15:00.000Z"])
def test_times_are_utc(text):
    prepared = statement.prepare(record(started=text))
    assert statement.parse_time(prepared["started"]).isoformat() == "2026-01-31T03:15:00+00:00"


@pytest.mark.parametrize("text", ["2026-01-31T03:15:00", "2026-01-31T03:15:00+02:00", "2026-02-31T03:15:00Z", "", 1])
def test_other_times_are_refused(text):
    with pytest.raises(ValueError, match=r"RFC 3339|day is out of range"):
        statement.parse_time(text)


def test_finished_before_started_is_refused(ground):
    with pytest.raises(keys.EvidenceError, match="lies before started"):
        ledger.append(ground.ledger, record(finished="2026-09-01T00:00:00Z"), ground.key)
