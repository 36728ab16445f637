"""What was done to a ledger, and what verification says of it: ours and the auditor's command alike."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import dsse, keys, ledger
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Ground, forge, record


def found(ground, **options):
    """What both verifiers say, which must be the same."""
    heads = [f"{cluster}={head}" for cluster, heads in (options.get("witnesses") or {}).items() for head in heads]
    extra = [part for head in heads for part in ("--head", head)]
    ours = ground.kinds(**options)
    assert ground.audit_kinds(*extra, public=options.get("public")) == ours
    return ours


def resign(path: Path, key: keys.PrivateKey, change) -> None:
    """Rewrites a record and signs it properly, as the holder of a key can."""
    document = json.loads(dsse.parse_envelope(path.read_bytes()).payload)
    change(document)
    path.write_bytes(dsse.seal(json.dumps(document).encode(), key.keyid, key.sign))


def raise_rto(document):
    document["predicate"]["measurements"]["rto_seconds"] = 1


def test_a_sound_ledger_has_no_findings(ground):
    ground.append(3)
    ground.append(2, "billing")
    assert found(ground) == []
    assert ground.audit().stdout.count("OK ") == 2


def test_altered_contents(ground):
    paths = ground.append(3)
    forge(paths[1], raise_rto)
    assert found(ground) == [("altered", paths[1].name)]


def test_altered_contents_of_the_last_record(ground):
    paths = ground.append(2)
    forge(paths[1], raise_rto)
    assert found(ground) == [("altered", paths[1].name)]


def test_altered_signature(ground):
    paths = ground.append(2)
    envelope = json.loads(paths[1].read_text())
    envelope["signatures"][0]["sig"] = json.loads(paths[0].read_text())["signatures"][0]["sig"]
    paths[1].write_text(json.dumps(envelope))
    assert found(ground) == [("altered", paths[1].name)]


def test_same_contents_in_other_bytes_break_the_seal(ground):
    paths = ground.append(2)
    paths[0].write_text(json.dumps(json.loads(paths[0].read_text())))
    assert found(ground) == [("altered", paths[0].name)]


def test_altered_and_signed_again_by_the_same_key_breaks_the_seal(ground):
    paths = ground.append(3)
    resign(paths[0], ground.key, raise_rto)
    assert found(ground) == [("altered", paths[0].name)]


@pytest.mark.parametrize("gone", [0, 1])
def test_removed_record(ground, gone):
    paths = ground.append(3)
    paths[gone].unlink()
    assert [kind for kind, _name in found(ground)] == ["removed"]
    assert f"record {gone + 1} before" in str(ground.verify()[0])


def test_several_removed_records_are_one_finding(ground):
    paths = ground.append(5)
    for path in paths[1:4]:
        path.unlink()
    assert found(ground) == [("removed", "")]
    assert "records 2 to 4 before" in str(ground.verify()[0])


def test_reordered_records(ground):
    one, two, three = ground.append(3)
    swapped = [one.with_name(one.name[:8] + two.name[8:]), two.with_name(two.name[:8] + one.name[8:])]
    two.rename(swapped[0])
    one.rename(swapped[1])
    assert found(ground) == [("reordered", swapped[0].name), ("reordered", swapped[1].name)]
    assert three.exists()


def test_a_removed_record_cannot_be_hidden_by_renaming(ground):
    paths = ground.append(3)
    paths[1].unlink()
    hidden = paths[2].with_name("00000002" + paths[2].name[8:])
    paths[2].rename(hidden)
    assert sorted(found(ground)) == [("removed", ""), ("reordered", hidden.name)]


def test_duplicated_record(ground):
    paths = ground.append(2)
    copy = paths[0].with_name("00000001-switchover-20261001T030412Z.dsse.json")
    shutil.copy(paths[0], copy)
    assert sorted(found(ground)) == [("duplicate", copy.name), ("reordered", copy.name)]


def test_record_of_another_cluster(ground):
    orders = ground.append(2)
    ground.append(1, "billing")
    (ground.ledger / "billing" / orders[1].name).write_bytes(orders[1].read_bytes())
    kinds = [kind for kind, _name in found(ground)]
    assert "misplaced" in kinds


def test_signed_by_another_key(ground, tmp_path):
    paths = ground.append(2)
    stranger = Ground.create(tmp_path / "stranger")
    resign(paths[1], stranger.key, raise_rto)
    assert found(ground) == [("foreign_key", paths[1].name)]
    assert {kind for kind, _name in found(ground, public=stranger.public)} == {"foreign_key"}


def test_a_stranger_who_claims_our_key_id(ground, tmp_path):
    paths = ground.append(2)
    stranger = Ground.create(tmp_path / "stranger")
    payload = dsse.parse_envelope(paths[1].read_bytes()).payload
    paths[1].write_bytes(dsse.seal(payload, ground.key.keyid, stranger.key.sign))
    assert found(ground) == [("altered", paths[1].name)]


def test_keys_inside_the_ledger_are_not_trusted(ground, tmp_path):
    stranger = Ground.create(tmp_path / "stranger")
    ledger.append(ground.ledger, record(), stranger.key)
    assert (ground.ledger / "keys" / f"{stranger.key.keyid}.pem").exists()
    assert [kind for kind, _name in found(ground)] == ["foreign_key"]


def test_two_keys_can_be_trusted_after_a_rotation(ground, tmp_path):
    ground.append(1)
    later = Ground.create(tmp_path / "later")
    ledger.append(ground.ledger, record(day=1), later.key)
    assert [kind for kind, _name in ground.kinds()] == ["foreign_key"]
    assert ground.audit("--key", str(later.public)).returncode == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"payload": "e30=", "payloadType": "text/plain", "signatures": []}', b"\xff\xfe",
     b'{"payload": "e30=", "payload": "e30=", "payloadType": "x", "signatures": [{"sig": "AA=="}]}', b"[" * 100_000],
)
def test_unparsable_record(ground, content):
    paths = ground.append(2)
    paths[1].write_bytes(content)
    assert ("unparsable", paths[1].name) in found(ground)


def test_a_signed_claim_that_its_checks_deny(ground):
    paths = ground.append(1)
    resign(paths[0], ground.key, lambda document: document["predicate"]["checks"][0].update(status="failed"))
    assert found(ground) == [("unparsable", paths[0].name)]
    assert "the checks say failed" in str(ground.verify()[0])


def test_a_link_is_not_a_record(ground, tmp_path):
    paths = ground.append(1)
    elsewhere = tmp_path / "elsewhere"
    paths[0].rename(elsewhere)
    paths[0].symlink_to(elsewhere)
    assert ("unparsable", paths[0].name) in found(ground)


def test_a_cut_tail_shows_only_against_a_witness(ground):
    paths = ground.append(3)
    head = ledger.digest(paths[2].read_bytes())
    paths[2].unlink()
    assert found(ground) == []
    assert found(ground, witnesses={"orders": [head]}) == [("witness", "")]


def test_a_chain_signed_anew_shows_only_against_a_witness(ground):
    head = ledger.digest(ground.append(2)[1].read_bytes())
    shutil.rmtree(ground.ledger)
    ground.append(2, first_day=1)
    assert found(ground) == []
    assert found(ground, witnesses={"orders": [head]}) == [("witness", "")]


def test_older_witnesses_stay_good(ground):
    heads = [ledger.digest(path.read_bytes()) for path in ground.append(3)]
    assert found(ground, witnesses={"orders": heads}) == []


def test_a_vanished_cluster_shows_against_a_witness(ground):
    ground.append(1)
    head = ledger.digest(ground.append(1, "billing")[0].read_bytes())
    shutil.rmtree(ground.ledger / "billing")
    assert found(ground) == []
    assert {kind for kind, _name in found(ground, witnesses={"billing": [head]})} == {"empty", "witness"}


def test_nothing_to_verify_is_a_finding(ground):
    ground.ledger.mkdir()
    assert ground.audit().returncode == 1
    assert ground.audit("--cluster", "orders").returncode == 1


def test_a_planted_file_does_not_stop_the_next_record(ground):
    ground.append(1)
    (ground.ledger / "orders" / "zzz.dsse.json").write_text("{}")
    ground.append(1, first_day=1)
    assert found(ground) == [("unparsable", "zzz.dsse.json")]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_a_sealed_record_shows(data):
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground.create(Path(folder))
        target = data.draw(st.sampled_from(ground.append(3)[:2]))
        content = bytearray(target.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
        target.write_bytes(content)
        assert target.name in {name for _kind, name in ground.kinds()}
