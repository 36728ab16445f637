"""The module, the role and the playbook as Ansible runs them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import ledger
from running import playbook, results
from samples import ROOT, record, stamp

FAILED = [{"name": "rows", "required": True, "status": "failed"}]


@pytest.fixture
def run(ground):
    def call(*extra, **values):
        given = {"report_ledger": str(ground.ledger), "report_public_key": str(ground.public),
                 "report_dest": str(ground.folder / "out.html")}
        return playbook(ground, ROOT / "playbooks" / "report.yml", *extra, **{**given, **values})

    return call


def add(ground, days_ago=0.1, **changes):
    finished = datetime.now(timezone.utc) - timedelta(days=days_ago)
    times = {"started": stamp(finished - timedelta(seconds=60)), "finished": stamp(finished)}
    ledger.append(ground.ledger, record(**{**times, **changes}), ground.key)


def test_the_page_is_written_once(ground, run):
    add(ground)
    dest = ground.folder / "out.html"
    assert run("--check").returncode == 0
    assert results(ground, "Render the report")[0]["changed"] and not dest.exists()
    done = run("--diff")
    assert done.returncode == 0, done.stdout
    assert "All proven: 1 cluster, 1 record verified" in done.stdout
    result, = results(ground, "Render the report")
    assert result["changed"] and result["proven"] and "orders: verified" in result["diff"]["after"]
    assert dest.stat().st_mode & 0o777 == 0o644 and dest.read_text().startswith("<!DOCTYPE html>")
    before = dest.read_bytes()
    assert run().returncode == 0
    assert not results(ground, "Render the report")[0]["changed"] and dest.read_bytes() == before
    add(ground, 0, checks=FAILED)
    assert run().returncode == 0
    result, = results(ground, "Render the report")
    assert result["changed"] and result["clusters"]["orders"]["state"] == "failed"


@pytest.mark.parametrize(
    ("days", "changes", "expected", "name"),
    [(0.1, {"checks": FAILED}, [], "orders"), (8, {}, [], "orders"), (0.1, {}, ["billing"], "billing")],
    ids=["failed", "overdue", "never"],
)
def test_it_fails_after_writing_when_that_is_wanted(ground, run, days, changes, expected, name):
    add(ground, days, **changes)
    done = run(report_must_be_proven=True, report_clusters=expected)
    assert done.returncode == 2
    assert f"needs attention: {name}" in done.stdout
    assert (ground.folder / "out.html").exists()


def test_it_does_not_fail_when_all_is_proven(ground, run):
    add(ground)
    assert run(report_must_be_proven=True).returncode == 0


def test_other_forms(ground, run):
    add(ground)
    assert run(report_format="json", report_dest=str(ground.folder / "out.json")).returncode == 0
    document = json.loads((ground.folder / "out.json").read_text())
    assert document["clusters"][0]["state"] == "verified"
    assert run(report_format="json", report_dest=str(ground.folder / "out.json")).returncode == 0
    assert not results(ground, "Render the report")[0]["changed"]
    assert run(report_format="markdown", report_dest=str(ground.folder / "out.md")).returncode == 0
    assert (ground.folder / "out.md").read_text().startswith("# Restore evidence")


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"report_ledger": "/nowhere"}, "record a first operation"),
        ({"report_public_key": "/nowhere"}, "correct the path"),
        ({"report_dest": "/nowhere/report.html"}, "create its folder"),
        ({"report_overdue_days": 0}, "must be positive"),
        ({"report_witnesses": {"orders": "abc"}}, "printed as head"),
    ],
)
def test_errors_are_one_line_with_a_remedy(ground, run, values, remedy):
    add(ground)
    assert run(**values).returncode == 2
    message = results(ground, "Render the report")[0]["msg"]
    assert remedy in message and "\n" not in message


def test_the_hosts_of_the_clusters_are_shown_and_nobody_has_to_answer(ground, run):
    """A cluster of the inventory whose hosts run nothing: asked or not, the report is made."""
    add(ground)
    hosts = ground.folder / "hosts.yml"
    hosts.write_text(json.dumps({"orders": {"hosts": {"pg1": {}, "pg2": {}}, "vars": {
        "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_become": False, "db_data_dir": "/nowhere", "db_owner": "root"}}}))
    dest = ground.folder / "out.html"
    assert run("-i", str(hosts), report_clusters=["orders", "shop"]).returncode == 0
    assert "2 members" in dest.read_text() and "Never proven" in dest.read_text()
    done = run("-i", str(hosts), report_clusters=["orders"], report_ask=True)
    assert done.returncode == 0, done.stdout
    assert "pg1 (absent), pg2 (absent)" in dest.read_text()
