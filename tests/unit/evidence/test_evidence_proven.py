"""Which backups a verified drill restored: what retention goes by."""

from __future__ import annotations

from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import evidence, ledger
from samples import forge, record

FAILED = [{"name": "rows", "required": True, "status": "failed"}]


def drill(ground, label: str, day: float, **changes: Any):
    measured = {"backup_label": label}
    return ledger.append(ground.ledger, record("orders", day, measurements=measured, **changes), ground.key).path


def proven(ground, **other: Any) -> dict[str, Any]:
    given = {"ledger": str(ground.ledger), "public_key": [str(ground.public)], "cluster": "orders", **other}
    outcome = evidence.proven(given, False)
    assert not outcome.changed
    return outcome.facts


def test_the_newest_proof_comes_first_and_each_backup_once(ground):
    for day, label in enumerate(["a", "b", "a", "c"]):
        last = drill(ground, label, day)
    drill(ground, "broken", 5, checks=FAILED)
    drill(ground, "d", 6, operation="backup")
    ledger.append(ground.ledger, record("other", 7, measurements={"backup_label": "e"}), ground.key)
    found = proven(ground)
    assert [one["label"] for one in found["backups"]] == ["c", "a", "b"]
    assert found["backups"][0] == {"label": "c", "verified": "2026-10-04T03:04:12Z", "record": last.name}
    assert (found["sound"], found["problem"]) == (True, "")


def test_a_dump_is_proven_by_its_own_records(ground):
    drill(ground, "a", 0, operation="dump")
    measured = {"dump_label": "20261001-030000"}
    for day, changes in enumerate(({}, {"checks": FAILED}), 1):
        said = record("orders", day, operation="dump", measurements=measured, **changes)
        ledger.append(ground.ledger, said, ground.key)
    found = proven(ground)
    assert found["backups"] == []
    assert [(one["label"], one["verified"]) for one in found["dumps"]] == [("20261001-030000", "2026-10-02T03:04:12Z")]


def test_a_name_stands_for_what_its_newest_verified_drill_restored(ground):
    def drilled(name: str, day: float, digest: str, **changes: Any):
        subjects = [{"name": f"cluster/{name}", "digest": {"sha256": digest * 64}}]
        return ledger.append(ground.ledger, record(name, day, subjects=subjects, **changes), ground.key).path

    given = {"ledger": str(ground.ledger), "public_key": [str(ground.public)]}
    assert evidence.identified(given, False).facts["identities"] == {}
    drilled("orders", 0, "a")
    drilled("orders", 1, "b")
    drilled("orders", 2, "c", checks=FAILED)
    drilled("orders", 3, "d", operation="backup")
    drilled("mistyped", 4, "b", checks=FAILED)
    assert evidence.identified(given, False).facts["identities"] == {"orders": "b" * 64}
    # What nobody signed says nothing.
    last = drilled("orders", 5, "e")
    forge(last, lambda document: document["subject"][0]["digest"].update(sha256="f" * 64))
    assert evidence.identified(given, False).facts["identities"] == {"orders": "b" * 64}
    ground.public.unlink()
    found = evidence.identified(given, False).facts
    assert found["identities"] == {} and found["problem"]


def test_no_ledger_is_sound_and_proves_nothing(ground):
    ground.public.unlink()
    assert proven(ground)["backups"] == []
    assert proven(ground)["sound"]
    assert not ground.ledger.exists()


def test_a_chain_that_was_altered_is_not_relied_on(ground):
    path = drill(ground, "a", 0)
    drill(ground, "b", 1)
    forge(path, lambda document: document["predicate"]["measurements"].update(backup_label="mine"))
    found = proven(ground)
    assert found["backups"] == [] and not found["sound"]
    assert "altered" in found["problem"]


def test_a_key_that_is_gone_is_told_and_fails_nothing(ground):
    drill(ground, "a", 0)
    ground.public.unlink()
    found = proven(ground)
    assert not found["sound"] and "key.pub.pem" in found["problem"]
