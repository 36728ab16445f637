from __future__ import annotations

import subprocess

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import keys


def test_a_pair_is_created_once_and_kept(tmp_path):
    private, public = tmp_path / "deep" / "key.pem", tmp_path / "key.pub.pem"
    planned = keys.ensure_keypair(private, public, None, dry_run=True)
    assert not private.exists()
    keyid, created = keys.ensure_keypair(private, public, None)
    assert created == planned[1] == [str(private), str(public)]
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes(), public.read_bytes()
    assert keys.ensure_keypair(private, public, None) == (keyid, [])
    assert (private.read_bytes(), public.read_bytes()) == before
    assert [path.name for path in private.parent.iterdir()] == ["key.pem"]


def test_a_lost_public_half_is_written_again(tmp_path):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    keyid, _created = keys.ensure_keypair(private, public, "open sesame")
    public.unlink()
    assert keys.ensure_keypair(private, public, "open sesame") == (keyid, [str(public)])


def test_openssl_reads_the_pair(tmp_path):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    keyid, _created = keys.ensure_keypair(private, public, None)
    derived = subprocess.run(["openssl", "pkey", "-in", private, "-pubout"], capture_output=True, check=True).stdout
    assert derived == public.read_bytes()
    der = subprocess.Popen(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], stdout=subprocess.PIPE)
    digest = subprocess.run(["sha256sum"], stdin=der.stdout, capture_output=True, text=True, check=True).stdout
    der.communicate()
    assert digest.split()[0] == keyid


def test_a_key_of_openssl_signs(tmp_path):
    private = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    private.chmod(0o600)
    assert len(keys.load_private(private).sign(b"x")) == 64


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_key_that_others_may_read_is_refused(ground, mode):
    ground.private.chmod(mode)
    with pytest.raises(keys.EvidenceError, match=r"open to group or others: run chmod 0600"):
        keys.load_private(ground.private)


@pytest.mark.parametrize(
    ("passphrase", "given", "complaint"),
    [("right", "wrong", "check the passphrase"), ("right", None, "is encrypted"), (None, "any", "has no passphrase")],
)
def test_a_wrong_passphrase_is_told(tmp_path, passphrase, given, complaint):
    keys.ensure_keypair(tmp_path / "a", tmp_path / "b", passphrase)
    with pytest.raises(keys.EvidenceError, match=complaint):
        keys.load_private(tmp_path / "a", given)


def test_what_is_not_a_key_is_told(tmp_path, ground):
    with pytest.raises(keys.EvidenceError, match="does not exist: create one"):
        keys.load_private(tmp_path / "none")
    junk = tmp_path / "junk"
    junk.write_text("junk")
    junk.chmod(0o600)
    with pytest.raises(keys.EvidenceError, match="PKCS#8"):
        keys.load_private(junk)
    with pytest.raises(keys.EvidenceError, match="not a PEM public key"):
        keys.load_public(junk)
    rsa = tmp_path / "rsa"
    subprocess.run(["openssl", "genrsa", "-out", rsa, "2048"], check=True, capture_output=True)
    rsa.chmod(0o600)
    with pytest.raises(keys.EvidenceError, match="not ed25519"):
        keys.load_private(rsa)
    with pytest.raises(keys.EvidenceError, match="no trusted public key"):
        keys.load_trusted([])


def test_halves_that_do_not_belong_together_are_refused(tmp_path, ground):
    keys.ensure_keypair(tmp_path / "other", tmp_path / "other.pub", None)
    with pytest.raises(keys.EvidenceError, match="does not belong to"):
        keys.ensure_keypair(ground.private, tmp_path / "other.pub", None)
    (tmp_path / "other").unlink()
    with pytest.raises(keys.EvidenceError, match=r"its private key .* does not"):
        keys.ensure_keypair(tmp_path / "other", tmp_path / "other.pub", None)
