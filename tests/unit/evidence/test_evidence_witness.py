"""What a witness shows that the chain does not: a cut tail, and a chain that its key's holder signed anew."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import evidence, ledger, witness
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from authority import Authority, MailServer, running
from running import playbook, results
from samples import ROOT, Ground, record


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("authority") / "tsa")
    server = made.serve()
    made.url = f"http://127.0.0.1:{server.server_port}/"
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def mails():
    server = running(MailServer())
    yield server
    server.shutdown()
    server.server_close()


def stamps(authority) -> dict:
    return {"kind": "timestamp", "url": authority.url, "ca_file": str(authority.root)}


def options(ground: Ground, *witnesses: dict, cluster: str | None = None) -> dict:
    return {"ledger": str(ground.ledger), "public_key": [str(ground.public)], "cluster": cluster, "witnesses": None,
            "witness": list(witnesses)}


def leave(ground: Ground, *witnesses: dict, check_mode: bool = False):
    return witness.witnessed(options(ground, *witnesses), check_mode)


def verify(ground: Ground, *witnesses: dict, cluster: str | None = None) -> tuple[list[tuple[str, str]], dict]:
    try:
        facts = evidence.verified(options(ground, *witnesses, cluster=cluster), False).facts
    except evidence.NotVerified as error:
        facts = error.facts
    return [(one["cluster"], one["kind"]) for one in facts["findings"]], facts


def sign_anew(ground: Ground) -> None:
    """What the holder of the key can do: write the whole chain of orders again, better."""
    count = len(ledger.record_files(ground.ledger / "orders"))
    for path in ledger.record_files(ground.ledger / "orders"):
        path.unlink()
    for day in range(count):
        ledger.append(ground.ledger, record("orders", day, measurements={"rto_seconds": 1}), ground.key)


def test_a_stamp_is_left_once_and_verifies_with_openssl_alone(ground, authority):
    head = ground.append(3)[-1]
    before = authority.asked
    assert leave(ground, stamps(authority), check_mode=True).changed
    assert not (ground.ledger / "orders" / "witness").exists() and authority.asked == before
    assert leave(ground, stamps(authority)).changed
    assert not leave(ground, stamps(authority)).changed and authority.asked == before + 1
    stamp, = (ground.ledger / "orders" / "witness").iterdir()
    assert stamp.name == f"00000003-{ledger.digest(head.read_bytes())}.tsr"
    done = subprocess.run(["openssl", "ts", "-verify", "-data", head, "-in", stamp, "-CAfile", authority.root],
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found, facts = verify(ground, {**stamps(authority), "url": None})
    assert found == [] and facts["witnessed"]["orders"]["unwitnessed"] == 0
    one, = facts["witnessed"]["orders"]["witnesses"]
    assert (one["sequence"], one["head"]) == (3, facts["clusters"]["orders"]["head"]) and one["at"].endswith("Z")
    ground.append(2, first_day=3)
    assert verify(ground, stamps(authority))[1]["witnessed"]["orders"]["unwitnessed"] == 2
    # The folder beside the chain is no part of it, for the independent command neither.
    assert ground.audit_kinds() == [] and ground.kinds() == []


def test_a_chain_that_was_signed_anew_shows(ground, authority):
    ground.append(3)
    leave(ground, stamps(authority))
    sign_anew(ground)
    assert ground.kinds() == []
    assert verify(ground, stamps(authority))[0] == [("orders", "witness")]


def test_a_cut_tail_shows_as_long_as_its_stamp_is_there(ground, authority):
    paths = ground.append(3)
    leave(ground, stamps(authority))
    paths[-1].unlink()
    assert ground.kinds() == [] and verify(ground, stamps(authority))[0] == [("orders", "witness")]
    shutil.rmtree(ground.ledger / "orders" / "witness")
    assert verify(ground, stamps(authority))[0] == []


def test_a_stamp_that_says_something_else_shows(ground, authority, tmp_path):
    paths = ground.append(2)
    leave(ground, stamps(authority))
    stamp, = (ground.ledger / "orders" / "witness").iterdir()
    other = stamp.with_name(f"00000001-{ledger.digest(paths[0].read_bytes())}.tsr")
    shutil.copy(stamp, other)
    found, facts = verify(ground, stamps(authority))
    assert found == [("orders", "witness")] and "does not verify" in facts["findings"][0]["message"]
    other.write_bytes(b"junk")
    assert "can't be read as a granted" in verify(ground, stamps(authority))[1]["findings"][0]["message"]
    other.unlink()
    rogue = Authority(tmp_path / "rogue")
    assert verify(ground, {**stamps(authority), "ca_file": str(rogue.root)})[0] == [("orders", "witness")]


@pytest.mark.parametrize(("answer", "said"), [
    (lambda _query: b"", "can't be read as a granted"),
    (lambda _query: b"\x30\x05\x30\x03\x02\x01\x02", "can't be read as a granted"),
], ids=["empty", "rejected"])
def test_an_answer_that_is_no_stamp_is_not_kept(ground, authority, answer, said):
    ground.append(1)
    authority.answer = answer
    try:
        with pytest.raises(OpsError, match=said):
            leave(ground, stamps(authority))
    finally:
        authority.answer = None
    assert verify(ground, stamps(authority))[1]["witnessed"]["orders"]["unwitnessed"] == 1


def test_a_stamp_of_another_head_is_not_kept(ground, authority):
    first = ground.append(1)[0]
    leave(ground, stamps(authority))
    stamp = next((first.parent / "witness").iterdir()).read_bytes()
    ground.append(1, first_day=1)
    authority.answer = lambda _query: stamp
    try:
        with pytest.raises(OpsError, match="no stamp of this head"):
            leave(ground, stamps(authority))
    finally:
        authority.answer = None
    assert len(list((first.parent / "witness").iterdir())) == 1


def test_a_mail_is_sent_once_and_read_back_from_where_it_was_saved(ground, mails, tmp_path):
    ground.append(2)
    saved = tmp_path / "inbox" / "cur"
    saved.mkdir(parents=True)
    mail = {"kind": "mail", "host": "127.0.0.1", "port": mails.server_address[1], "security": "none",
            "sender": "evidence@example.com", "recipients": ["auditor@example.com"], "folder": str(tmp_path / "inbox")}
    assert leave(ground, mail, check_mode=True).changed and not mails.mails
    assert leave(ground, mail).changed and not leave(ground, mail).changed
    text, = mails.mails
    head = ledger.digest(ledger.record_files(ground.ledger / "orders")[-1].read_bytes())
    assert f"--head orders={head}" in text.decode()
    # What the sender remembers is no witness.
    assert verify(ground, mail)[1]["witnessed"]["orders"]["unwitnessed"] == 2
    (saved / "1").write_bytes(text)
    (saved / "2").write_bytes(b"Subject: lunch\n\nnoon\n")
    found, facts = verify(ground, mail)
    assert found == [] and facts["witnessed"]["orders"]["unwitnessed"] == 0
    sign_anew(ground)
    assert verify(ground, mail)[0] == [("orders", "witness")]
    shutil.rmtree(ground.ledger / "orders")
    assert verify(ground, mail)[0] == [("orders", "empty"), ("orders", "witness")]


def test_a_refused_mail_is_tried_again(ground, mails):
    ground.append(1)
    mail = {"kind": "mail", "host": "127.0.0.1", "port": mails.server_address[1], "security": "none",
            "sender": "evidence@example.com", "recipients": ["auditor@example.com", "gone@example.com"]}
    mails.refused = "gone@example.com"
    with pytest.raises(OpsError, match=r"gone@example\.com was refused"):
        leave(ground, mail)
    mails.refused = ""
    assert leave(ground, mail).changed and len(mails.mails) == 2


def test_one_witness_out_of_order_keeps_no_other_from_it(ground, authority):
    ground.append(1)
    ground.append(1, "billing")
    shutil.copy(ledger.record_files(ground.ledger / "orders")[0], ground.ledger / "billing" / "junk.dsse.json")
    gone = {"kind": "mail", "host": "127.0.0.1", "port": 1, "sender": "a@example.com", "recipients": ["b@example.com"]}
    with pytest.raises(OpsError) as caught:
        leave(ground, gone, stamps(authority))
    text = str(caught.value)
    assert "mail by 127.0.0.1:1 was not sent" in text and "billing was not witnessed, as its chain is not sound" in text
    assert [(one["cluster"], one["kind"]) for one in caught.value.facts["left"]] == [("orders", "timestamp")]


@pytest.mark.parametrize(("wrong", "said"), [
    ({"kind": "timestamp", "url": "http://x"}, "ca_file of the time stamps is no file"),
    ({"kind": "timestamp", "url": "file:///etc/passwd", "ca_file": __file__}, "give http"),
    ({"kind": "timestamp", "ca_file": __file__}, "url is empty"),
    ({"kind": "mail"}, "host of the mail is empty.*sender of the mail is empty.*recipients"),
    ({"kind": "mail", "folder": "/nowhere"}, "folder of the saved mails is none"),
    ({"kind": "object_lock"}, "bucket of the locked objects is empty.*endpoint.*region.*days is None"),
])
def test_options_that_mean_nothing_are_refused(ground, wrong, said):
    ground.append(1)
    with pytest.raises(OpsError, match=said):
        leave(ground, wrong)


def test_the_playbooks_leave_and_verify(ground, authority):
    ground.append(2)
    given = {"evidence_ledger": str(ground.ledger), "evidence_public_key": str(ground.public),
             "evidence_witness": [stamps(authority)]}

    def run(name, *extra):
        done = playbook(ground, ROOT / "playbooks" / f"{name}.yml", *extra, **given)
        assert "Traceback" not in done.stdout
        return done

    for extra, changed in ((["--check", "--diff"], True), ([], True), ([], False)):
        assert run("witness_evidence", *extra).returncode == 0
        assert results(ground, "Leave the heads with the witnesses")[0]["changed"] is changed
    done = run("verify_evidence")
    assert done.returncode == 0 and "orders: 1 witnessed, the newest 0 records only signed" in done.stdout, done.stdout
    sign_anew(ground)
    assert run("verify_evidence").returncode == 2
    assert results(ground, "Verify the ledger")[0]["findings"][0]["kind"] == "witness"
