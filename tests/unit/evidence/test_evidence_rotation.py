"""Another key takes over, and a copy comes out of its envelope: the page's commands, run as they stand there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import chain, keys, ledger
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError
from running import playbook, results
from samples import ROOT, Ground, record
from test_evidence_auditor import blocks


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-eu", "-c", blocks("evidence")[name][1]], cwd=folder, capture_output=True, text=True,
                          check=False, timeout=60)


@pytest.fixture
def home(ground: Ground) -> Ground:
    """A ledger of three records, and the files where the page says they are."""
    ground.append(3)
    shutil.copy(ground.private, ground.folder / "evidence.pem")
    shutil.copy(ground.public, ground.folder / "evidence.pub.pem")
    shutil.copy(ROOT / "tools/audit_evidence.py", ground.folder)
    (ground.folder / "passphrase").write_text("a-long-and-random-one\n")
    return ground


def test_every_block_is_run_here():
    assert list(blocks("evidence")) == ["vouch", "rotated", "escrow", "trial"]


def test_a_new_key_takes_over(home):
    new, public = home.folder / "new.pem", home.folder / "new.pub.pem"
    keys.ensure_keypair(new, public, None)
    assert "Signature Verified Successfully" in run("vouch", home.folder).stdout
    ledger.append(home.ledger, record("orders", 3), keys.load_private(new))
    both = keys.load_trusted([public, home.public])
    assert chain.read_ledger(home.ledger, both)[0].findings == []
    assert [one.signed_by == home.key.keyid for one in chain.read_ledger(home.ledger, both)[0].records] == [
        True, True, True, False]
    assert home.audit_kinds("--key", str(public)) == []
    done = run("rotated", home.folder)
    assert (done.returncode, done.stdout.count("foreign_key")) == (1, 3)
    # Whoever had only the old key does not take just any new one.
    other = Ground.create(home.folder / "other")
    shutil.copy(other.public, public)
    old = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "evidence.pub.pem", "-rawin", "-in", "new.pub.pem",
           "-sigfile", "new.pub.sig"]
    assert subprocess.run(old, cwd=home.folder, capture_output=True, check=False).returncode != 0


def test_the_role_takes_the_first_public_key_for_the_signing_one(home):
    new, public = home.folder / "new.pem", home.folder / "new.pub.pem"
    keys.ensure_keypair(new, public, None)
    play = home.folder / "ready.yml"
    play.write_text("- hosts: localhost\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role:\n"
                    "        name: boringdb.ops.evidence\n        tasks_from: ready\n")
    done = playbook(home, play, evidence_key=str(new), evidence_public_key=[str(public), str(home.public)])
    assert done.returncode == 0, done.stdout
    done = playbook(home, play, evidence_key=str(new), evidence_public_key=[str(home.public), str(public)])
    assert done.returncode == 2 and "does not belong" in results(home, "Look for the signing key")[0]["msg"]


def test_a_copy_in_escrow_continues_the_chain(home):
    assert run("escrow", home.folder).returncode == 0
    assert "Signature Verified Successfully" in run("trial", home.folder).stdout
    copy = home.folder / "escrow.pem"
    assert b"ENCRYPTED" in copy.read_bytes()
    ledger.append(home.ledger, record("orders", 3), keys.load_private(copy, "a-long-and-random-one"))
    assert home.kinds() == [] and len(ledger.record_files(home.ledger / "orders")) == 4
    with pytest.raises(EvidenceError, match="give its passphrase"):
        keys.load_private(copy)
    (home.folder / "passphrase").write_text("another\n")
    assert run("trial", home.folder).returncode != 0


def test_a_copy_of_another_key_shows(home):
    shutil.copy(Ground.create(home.folder / "other").private, home.folder / "evidence.pem")
    assert run("escrow", home.folder).returncode != 0
