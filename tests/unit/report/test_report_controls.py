"""The matrix of controls: what counts, what is missing, in every form."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import (
    controls,
    follow_up,
    keys,
    ledger,
    matrix,
    matrix_text,
    page,
    report,
    report_text,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError
from make_estate import NOW
from markdown_it import MarkdownIt
from samples import ROOT, forge, record, stamp
from test_report_page import EVIL, Reader

FAILED = [{"name": "rows", "required": True, "status": "failed"}]
APPROVAL = {"kind": "approval", "by": "Ada", "role": "head of operations"}


def add(ground, days_ago, **changes):
    started = NOW - timedelta(days=days_ago, seconds=300)
    values = {"started": stamp(started), "finished": stamp(started + timedelta(seconds=300)), **changes}
    return ledger.append(ground.ledger, record(**values), ground.key).path


def follow(ground, path, **said):
    follow_up.followed_up(ground.following(path.parent.name, ledger.digest(path.read_bytes()), **said), False)


def built(ground, start=None, end=None, approval=(), second=False, public=(), expected=()):
    wanted = report.Approval(tuple(approval), second)
    found = report.read_estate(
        ground.ledger, keys.load_trusted([ground.public, *public]), title="t", now=NOW, overdue_days=7,
        approval=wanted, expected=expected)
    found.matrix = matrix.build(found.clusters, matrix.period(start, end, NOW), wanted)
    return found


def gaps(estate):
    return [(gap.kind, gap.cluster) for gap in estate.matrix.gaps]


def test_a_record_names_the_controls_of_the_table(ground):
    for name in ("restore_drill", "dump", "restore", "switchover", "failover", "failover_drill", "rejoin"):
        said = json.loads(json.dumps(ledger.append(ground.ledger, record(operation=name), ground.key).statement))
        assert said["predicate"]["controls"] == controls.supported(name)
    assert len(controls.supported("restore_drill")) == 5 and controls.supported("rejoin") == []
    assert controls.supported("switchover") == ["ISO27001-A.8.14", "DORA Art. 11"]
    page_rows = re.findall(r"^\| (\S.*?) \| `.*$", (ROOT / "docs/evidence.md").read_text(), re.MULTILINE)
    for control in controls.CONTROLS:
        assert f"`{control.name}`" in " ".join(page_rows), control
        row, = (line for line in (ROOT / "docs/evidence.md").read_text().splitlines()
                if line.startswith(f"| `{control.name}` |"))
        assert re.findall(r"`([a-z_]+)`", row) == list(control.operations)


def test_runs_are_counted_by_control_within_the_period(ground):
    add(ground, 100)
    add(ground, 89, checks=FAILED)
    add(ground, 1)
    add(ground, 1, operation="dump")
    add(ground, 0.5, operation="switchover")
    rows = {row.control.name: row for row in built(ground).matrix.rows}
    assert (rows["SOC2-A1.3"].count("verified"), rows["SOC2-A1.3"].count("failed", "error")) == (1, 1)
    assert rows["SOC2-A1.2"].count("verified") == 2
    assert gaps(built(ground)) == [("open_failure", "orders")]
    assert gaps(built(ground, "2026-11-01", "2026-11-21")) == []
    assert gaps(built(ground, end="2026-08-31")) == [("open_failure", "orders")]
    # Both days belong to it: the first drill ended on 2026-08-13, and none before.
    assert gaps(built(ground, "2026-08-13", "2026-08-13")) == []
    assert gaps(built(ground, "2026-08-12", "2026-08-12")) == [("no_verified_run", "orders")]


def test_a_dump_alone_is_no_drill(ground):
    add(ground, 1, operation="dump")
    assert gaps(built(ground, expected=["billing"])) == [("no_verified_run", "billing"), ("no_verified_run", "orders")]


def test_nothing_of_a_chain_counts_in_which_something_is_wrong(ground):
    for day in (3, 2, 1):
        add(ground, day)
    add(ground, 1, cluster="billing")
    forge(ledger.record_files(ground.ledger / "orders")[0], lambda document: document["predicate"].update(engine="x"))
    found = built(ground)
    assert gaps(found) == [("not_counted", "orders")]
    drilled = [row for row in found.matrix.rows if row.control.needed]
    assert [[cluster for cluster, _entry in row.runs] for row in drilled] == [["billing"]] * 5
    assert all(len(row.gaps) == 1 for row in found.matrix.rows)


def test_a_corrective_action_closes_a_failure(ground):
    path = add(ground, 2, checks=FAILED)
    add(ground, 1)
    assert gaps(built(ground)) == [("open_failure", "orders")]
    assert [len(cluster.open_failures) for cluster in built(ground).clusters] == [1]
    follow(ground, path, kind="corrective_action", by="Bob", action="disk | replaced", ticket="OPS-17")
    found = built(ground)
    assert gaps(found) == [] and not found.clusters[0].open_failures and found.clusters[0].state == "verified"
    for form in (page.render, report_text.markdown, matrix_text.controls_markdown):
        assert "OPS-17" in form(found, 20)
    done, = json.loads(report_text.as_json(found, 20))["clusters"][0]["operations"][2]["corrective_actions"]
    assert (done["by"], done["action"], done["signed_by"]) == ("Bob", "disk | replaced", ground.key.keyid)


def test_the_page_shows_the_newest_runs_and_the_other_forms_all(ground, monkeypatch):
    from ansible_collections.boringdb.ops.plugins.module_utils._core import page_controls

    paths = [add(ground, day) for day in (3, 2, 1)]
    monkeypatch.setattr(page_controls, "RUNS", 2)
    text = page_controls.controls(built(ground).matrix)
    digests = [ledger.digest(path.read_bytes()) for path in paths]
    assert [digest in text for digest in digests] == [False, True, True] and "3 runs" in text and "the newest 2" in text
    assert all(digest in matrix_text.controls_markdown(built(ground), 1) for digest in digests)


def test_what_people_say_stays_text(ground):
    path = add(ground, 2, checks=[{**FAILED[0], "message": EVIL}])
    follow(ground, path, kind="corrective_action", by=EVIL, role=EVIL, action=EVIL, ticket=EVIL)
    follow(ground, path, **{**APPROVAL, "by": EVIL, "comment": EVIL})
    add(ground, 1, checks=[{**FAILED[0], "message": EVIL}], controls=[EVIL])
    found = built(ground)
    reader = Reader(page.render(found, 20))
    assert not [tag for tag, _attributes in reader.elements if tag == "img"]
    assert not [name for _tag, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert reader.text.count(EVIL) >= 12
    for form in (report_text.markdown, matrix_text.controls_markdown):
        text = form(found, 20)
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        inline = [child for token in tokens for child in token.children or []]
        assert "<" not in text and not {child.type for child in inline} & {"html_inline", "link_open", "image"}


def test_an_approval_may_be_demanded_of_a_second_person(ground):
    path = add(ground, 1)
    assert built(ground).clusters[0].state == "verified"
    assert built(ground, approval=["restore_drill"]).clusters[0].state == "unapproved"
    assert gaps(built(ground, approval=["restore_drill"])) == [("not_approved", "orders")]
    follow(ground, path, **APPROVAL)
    assert gaps(built(ground, approval=["restore_drill"])) == []
    found = built(ground, approval=["restore_drill"], second=True)
    assert gaps(found) == [("not_approved", "orders")]
    assert found.clusters[0].problems == ["last drill was not approved by a second person"]
    ada = ground.folder / "ada.pem"
    keys.ensure_keypair(ada, ada.with_suffix(".pub"), None)
    follow(ground, path, private=ada, public_key=[str(ground.public), str(ada.with_suffix(".pub"))], **APPROVAL)
    found = built(ground, approval=["restore_drill"], second=True, public=[ada.with_suffix(".pub")])
    assert gaps(found) == [] and found.clusters[0].state == "verified"
    assert found.clusters[0].engine == "postgresql 17.5"


def test_a_control_of_one_s_own_is_shown_and_lacks_nothing(ground):
    add(ground, 1, controls=["NIST-CP-9", "SOC2-A1.2"])
    rows = {row.control.name: row for row in built(ground).matrix.rows}
    assert rows["NIST-CP-9"].count("verified") == 1 and not rows["NIST-CP-9"].gaps
    assert rows["SOC2-A1.3"].gaps


def test_the_forms_say_the_same(ground):
    path = add(ground, 2, checks=FAILED)
    add(ground, 1)
    found = built(ground)
    document = json.loads(matrix_text.controls_json(found, 1))
    assert document["format"] == "urn:boringdb.ops:controls:v1"
    assert document["period"] == {"start": "2026-08-23", "end": "2026-11-21"}
    assert set(document["runs"]) == {ledger.digest(one.read_bytes()) for one in path.parent.glob("0*.json")}
    drilled = [row["verdicts"] for row in document["controls"] if row["needed"]]
    assert drilled == [{"verified": 1, "failed": 1, "error": 0}] * 5 and len(document["controls"]) == 7
    assert [(gap["kind"], gap["record"]) for gap in document["gaps"]] == [
        ("open_failure", ledger.digest(path.read_bytes()))]
    assert json.loads(report_text.as_json(found, 20))["matrix"]["gaps"] == document["gaps"]
    tokens = MarkdownIt("commonmark").enable("table").parse(matrix_text.controls_markdown(found, 20))
    assert len([token for token in tokens if token.type == "tr_open"]) == 8 + 3
    text = page.render(found, 20)
    assert "no corrective action" in text and ledger.digest(path.read_bytes()) in text


@pytest.mark.parametrize(("start", "end"), [("2026-11-22", None), ("x", None), (None, "2026-02-30"), ("", "1")])
def test_a_period_that_is_none_is_refused(start, end):
    with pytest.raises(EvidenceError, match=r"correct them|give a day"):
        matrix.period(start, end, NOW)


def test_the_module_writes_each_form_once(ground):
    from ansible_collections.boringdb.ops.plugins.module_utils._core import report_file

    add(ground, 1)
    for form in report_file.FORMS:
        dest = ground.folder / form
        params = SimpleNamespace(
            ledger=str(ground.ledger), dest=str(dest), public_key=[str(ground.public)], format=form, title="t",
            overdue_days=7, clusters=[], witnesses=None, limit=20, approval=[], period_start=None, period_end=None,
            second_person=False, members=None, instances=None,
        )
        assert report_file.write_report(vars(params), False).changed
        assert not report_file.write_report(vars(params), False).changed
        assert Path(dest).stat().st_size > 500
