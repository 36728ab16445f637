"""The module, the role and the playbook as Ansible runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import keys, ledger
from running import playbook, results
from samples import ROOT, forge, record

PLAY = """
- name: Record
  hosts: one,two
  gather_facts: false
  roles:
    - role: boringdb.ops.evidence
      evidence_record: "{{ given }}"
"""


@pytest.fixture
def role(ground):
    path = ground.folder / "play.yml"
    path.write_text(PLAY)
    given = {"evidence_ledger": str(ground.ledger), "evidence_key": str(ground.private), "given": record()}

    def run(*extra, **changes):
        return playbook(ground, path, *extra, **{**given, **changes})

    return run


def test_the_role_records_once_for_all_hosts(ground, role):
    done = role()
    assert done.returncode == 0, done.stdout
    result, = results(ground, "Record the operation")
    assert result["changed"] and result["verdict"] == "verified" and result["sequence"] == 1
    assert ground.kinds(witnesses={"orders": [result["head"]]}) == []
    stats = " ".join(done.stdout.split("CUSTOM STATS")[1].split())
    assert f"orders: {result['head']}" in stats and f"digest: {result['head']}" in stats
    assert "rto_seconds: 187.4" in stats and "verdict: verified" in stats
    assert role().returncode == 0
    again, = results(ground, "Record the operation")
    assert (again["changed"], again["head"]) == (False, result["head"])


def test_the_outcome_of_a_switchover_is_handed_on(ground, role):
    given = record(operation="switchover", measurements={"stall_ms": 96.0}, objectives={}, controls=[])
    done = role(given=given)
    assert done.returncode == 0, done.stdout
    stats = " ".join(done.stdout.split("CUSTOM STATS")[1].split())
    assert "operation: switchover" in stats and "stall_ms: 96.0" in stats and "rto_seconds" not in stats


def test_check_mode_records_nothing_and_shows_what_it_would(ground, role):
    done = role("--check", "--diff")
    assert done.returncode == 0, done.stdout
    result = results(ground, "Record the operation")[0]
    assert result["changed"] and not ground.ledger.exists() and "evidence_outcome" not in done.stdout
    assert '"urn:boringdb.ops:operation:v1"' in result["diff"]["after"]


def test_errors_are_one_line_with_a_remedy(ground, role):
    ground.private.chmod(0o644)
    assert role().returncode == 2
    result = results(ground, "Record the operation")[0]
    assert "chmod 0600" in result["msg"] and "\n" not in result["msg"]
    ground.private.unlink()
    assert role().returncode == 2
    assert "state=keypair" in results(ground, "Record the operation")[0]["msg"]


def test_the_passphrase_does_not_show(ground, role):
    done = role("-vvv", evidence_passphrase="open-sesame-4711")
    assert done.returncode != 0
    assert "has no passphrase" in done.stdout
    assert "open-sesame" not in done.stdout + done.stderr


def test_the_operator_is_filled_in(ground, role):
    given = record()
    del given["operator"]
    assert role(given=given).returncode == 0
    result = results(ground, "Record the operation")[0]
    assert list(result["statement"]["predicate"]["operator"]) == ["user"]
    assert role(given=given, awx_user_name="ada", awx_job_id=4711).returncode == 0
    result = results(ground, "Record the operation")[0]
    assert result["statement"]["predicate"]["operator"] == {"user": "ada", "awx_job": "4711"}


@pytest.mark.parametrize(("missing", "expected"), [("public", 0), ("private", 2), ("both", 2), ("none", 0)])
def test_an_operation_that_could_not_be_recorded_does_not_begin(ground, missing, expected):
    play = ground.folder / "ready.yml"
    play.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role:\n"
        "        name: boringdb.ops.evidence\n        tasks_from: ready\n"
    )
    if missing in ("public", "both"):
        ground.public.unlink()
    if missing in ("private", "both"):
        ground.private.unlink()
    values = {"evidence_key": str(ground.private), "evidence_public_key": str(ground.public)}
    assert playbook(ground, play, **values).returncode == expected
    assert ground.private.exists() == (missing in ("public", "none"))


def verify(ground, **values):
    return playbook(
        ground, ROOT / "playbooks" / "verify_evidence.yml",
        **{"evidence_ledger": str(ground.ledger), "evidence_public_key": str(ground.public), **values},
    )


def test_the_playbook_verifies_and_fails_with_findings(ground):
    paths = ground.append(2)
    done = verify(ground)
    assert done.returncode == 0, done.stdout
    assert "orders: 2 records, all signatures good, head " in done.stdout
    assert verify(ground, evidence_witnesses={"orders": "0" * 64}).returncode != 0
    forge(paths[0], lambda document: document["predicate"].update(engine="mysql"))
    done = verify(ground)
    assert done.returncode == 2
    result = results(ground, "Verify the ledger")[0]
    assert [finding["kind"] for finding in result["findings"]] == ["altered"]
    assert f"orders/{paths[0].name}: altered" in result["msg"]
    assert verify(ground, evidence_cluster="billing").returncode == 2


def test_an_empty_ledger_is_not_verified(ground):
    ground.ledger.mkdir()
    assert verify(ground).returncode == 2


def test_the_key_pair_state(ground):
    play = ground.folder / "key.yml"
    play.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role:\n"
        "        name: boringdb.ops.evidence\n        tasks_from: keypair\n"
    )
    target = ground.folder / "new" / "key.pem"
    values = {"evidence_key": str(target), "evidence_public_key": str(target) + ".pub"}

    def run(*extra):
        done = playbook(ground, play, *extra, **values)
        assert done.returncode == 0, done.stdout
        return results(ground, "Create the signing key where there is none")[0]

    assert run("--check")["changed"]
    assert not target.exists()
    first, second = run(), run()
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["keyid"] == second["keyid"] and target.stat().st_mode & 0o777 == 0o600


def test_the_playbook_signs_what_a_person_says_and_is_run_twice(ground):
    path, = ground.append(1)
    said = {"kind": "approval", "record": ledger.digest(path.read_bytes()), "by": "Ada", "comment": "as planned"}
    ada = {"evidence_key": str(ground.folder / "ada.pem"), "evidence_public_key": str(ground.folder / "ada.pub.pem")}
    keys.ensure_keypair(*map(Path, ada.values()), None)

    def run(*extra, **values):
        given = {"evidence_ledger": str(ground.ledger), "evidence_cluster": "orders", "evidence_follow_up": said, **ada,
                 "evidence_public_key": [str(ground.public), ada["evidence_public_key"]],
                 "evidence_second_person": True}
        done = playbook(ground, ROOT / "playbooks" / "follow_up.yml", *extra, **{**given, **values})
        assert "Traceback" not in done.stdout
        return done.returncode, results(ground, "Sign the follow-up")

    assert run("--check", "--diff")[1][0]["changed"] and len(ledger.record_files(path.parent)) == 1
    code, (first,) = run()
    assert (code, first["changed"], first["sequence"]) == (0, True, 2)
    code, (again,) = run()
    assert (code, again["changed"], again["head"]) == (0, False, first["head"])
    code, (refused,) = run(evidence_key=str(ground.private))
    assert code == 2 and "a second person is demanded" in refused["msg"]
    assert run(evidence_follow_up={**said, "kind": "applause"})[0] == 2
    assert len(ledger.record_files(path.parent)) == 2
