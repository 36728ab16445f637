"""Approvals and corrective actions: signed later, by whom, about exactly which record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import (
    dsse,
    evidence,
    follow_up,
    keys,
    ledger,
    statement,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Refused
from samples import Ground, forge, record, statement_of

FAILED = [{"name": "rows", "required": True, "status": "failed"}]
APPROVAL = {"kind": "approval", "by": "Ada", "role": "head of operations", "comment": "as planned"}
ACTION = {"kind": "corrective_action", "by": "Bob", "action": "port 22 opened again", "ticket": "OPS-17"}


class Person:
    """Somebody with a key of their own."""

    def __init__(self, ground: Ground, name: str) -> None:
        self.private, self.public = ground.folder / f"{name}.pem", ground.folder / f"{name}.pub.pem"
        keys.ensure_keypair(self.private, self.public, None)


def digest(path: Path) -> str:
    return ledger.digest(path.read_bytes())


def follow(ground: Ground, path: Path | str, check_mode: bool = False, **said: Any):
    name = path if isinstance(path, str) else digest(path)
    return follow_up.followed_up(ground.following("orders", name, **said), check_mode)


def both(ground: Ground, *more: Path) -> list[tuple[str, str]]:
    """What both verifiers find, which must be the same."""
    extra = [part for path in more for part in ("--key", str(path))]
    trusted = keys.load_trusted([ground.public, *more])
    ours = [(f.kind, f.record) for c in evidence.chain.read_ledger(ground.ledger, trusted) for f in c.findings]
    assert ground.audit_kinds(*extra) == ours
    return ours


def test_an_approval_by_a_second_person_stands_in_the_chain(ground):
    first, ada = ground.append(2)[0], Person(ground, "ada")
    before = [path.read_bytes() for path in ledger.record_files(ground.ledger / "orders")]
    options = {"private": ada.private, "public_key": [str(ground.public), str(ada.public)], "second_person": True}
    assert follow(ground, first, check_mode=True, **options, **APPROVAL).changed
    done = follow(ground, first, **options, **APPROVAL)
    said = done.facts["statement"]
    assert (done.changed, done.facts["sequence"], done.facts["verdict"]) == (True, 3, "verified")
    assert said["subject"] == [{"name": first.name, "digest": {"sha256": digest(first)}}]
    assert said["predicate"]["approval"] == {"by": "Ada", "role": "head of operations", "comment": "as planned"}
    assert [(c["name"], c["status"], c["required"]) for c in said["predicate"]["checks"]] == [
        ("record_signed", "passed", True), ("second_person", "passed", True)]
    assert both(ground, ada.public) == []
    assert both(ground) == [("foreign_key", Path(done.facts["path"]).name)]
    files = ledger.record_files(ground.ledger / "orders")
    assert [path.read_bytes() for path in files[:2]] == before and len(files) == 3
    again = follow(ground, first, **options, **APPROVAL)
    assert (again.changed, again.facts["head"]) == (False, done.facts["head"])
    assert len(ledger.record_files(ground.ledger / "orders")) == 3
    with pytest.raises(Refused, match=r"has approved .* already"):
        follow(ground, first, **options, **{**APPROVAL, "comment": "twice"})


def test_a_corrective_action_says_what_was_done(ground):
    failed = ledger.append(ground.ledger, record(checks=FAILED), ground.key).path
    done = follow(ground, failed, **{**ACTION, "action": "rotated, password=hunter2 gone"})
    said = done.facts["statement"]["predicate"]["corrective_action"]
    assert said == {"by": "Bob", "action": "rotated, password=[redacted] gone", "ticket": "OPS-17"}
    follow(ground, failed, **{**ACTION, "action": "and a check added"})
    assert both(ground) == [] and len(ledger.record_files(ground.ledger / "orders")) == 3


@pytest.mark.parametrize(("changes", "said"), [
    ({"record": "0" * 64}, "no record of orders has the digest"),
    ({"record": "HEAD"}, "give the sha256"),
    ({"by": " "}, "by is empty"),
    ({**ACTION, "action": None}, "action is empty"),
    (ACTION, "was verified"),
    ({"action": "x"}, "action has no place in approval"),
    ({"second_person": True}, "signed with this very key, and a second person is demanded"),
    ({"private": True}, "not among the trusted ones"),
    ({"comment": "password=hunter2"}, "looks like a secret"),
])
def test_it_refuses_and_writes_nothing(ground, changes, said):
    first = ground.append(1)[0]
    changes = dict(changes)
    if changes.get("private"):
        changes["private"] = Person(ground, "eve").private
    name = changes.pop("record", digest(first))
    plain = {**APPROVAL, "comment": None, **({"role": None} if "kind" in changes else {})}
    with pytest.raises(OpsError, match=said):
        follow(ground, name, **{**plain, **changes})
    assert ledger.record_files(ground.ledger / "orders") == [first]


def test_it_follows_no_follow_up_and_nothing_that_was_touched(ground):
    paths = ground.append(2)
    approval = Path(follow(ground, paths[0], **APPROVAL).facts["path"])
    with pytest.raises(Refused, match="follows a record itself"):
        follow(ground, approval, **APPROVAL)
    forge(paths[1], lambda document: document["predicate"].update(engine="mysql"))
    with pytest.raises(Refused, match="nobody vouches"):
        follow(ground, paths[1], **APPROVAL)


def test_of_two_at_once_one_is_refused(ground, monkeypatch):
    first = ground.append(1)[0]
    judged = follow_up._judged

    def meanwhile(*arguments):
        found = judged(*arguments)
        monkeypatch.setattr(follow_up, "_judged", judged)
        follow(ground, first, **APPROVAL)
        return found

    monkeypatch.setattr(follow_up, "_judged", meanwhile)
    with pytest.raises(Refused, match="another run has just recorded"):
        follow(ground, first, **APPROVAL)
    assert len(ledger.record_files(ground.ledger / "orders")) == 2 and both(ground) == []


def signed(ground: Ground, change: Any) -> Path:
    """A follow-up as whoever holds a trusted key can write it past this code, at the end of the chain."""
    files = ledger.record_files(ground.ledger / "orders")
    document = statement_of(files[-1])
    change(document)
    payload = json.dumps(document).encode()
    files[-1].write_bytes(dsse.seal(payload, ground.key.keyid, ground.key.sign))
    return files[-1]


def test_verification_knows_a_follow_up_of_nothing(ground):
    first = ground.append(1)[0]
    follow(ground, first, **APPROVAL)
    path = signed(ground, lambda document: document["subject"][0]["digest"].update(sha256="a" * 64))
    assert both(ground) == [("follow_up", path.name)]
    path = signed(ground, lambda document: document["predicate"].update(approval={"by": ""}))
    assert ("unparsable", path.name) in both(ground)
    path = signed(ground, lambda document: document["subject"].append(document["subject"][0]))
    assert both(ground) == [("unparsable", path.name)]


def test_it_is_not_recorded_like_an_operation(ground):
    given = record(operation="approval", approval={"by": "Eve"})
    with pytest.raises(OpsError, match="use state=followed_up"):
        evidence.recorded({"record": given}, False)
    found = statement.problems(statement.build(statement.prepare(record(operation="approval")), 1, None))
    assert found == ["approval must be a dictionary with by, who says it"]
