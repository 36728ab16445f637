"""Records are read by others: an independent DSSE library, and openssl as the docs show it."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import keys
from samples import ROOT, Ground, forge, statement_of
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


def library_key(ground: Ground) -> SSlibKey:
    return SSlibKey.from_crypto(keys.load_public(ground.public), keyid=ground.key.keyid)


def test_securesystemslib_verifies_a_record(ground):
    path = ground.append(2)[1]
    envelope = Envelope.from_dict(json.loads(path.read_text()))
    accepted = envelope.verify([library_key(ground)], 1)
    assert list(accepted) == [ground.key.keyid]
    assert json.loads(envelope.payload) == statement_of(path)


def test_securesystemslib_denies_an_altered_record(ground):
    path = ground.append(1)[0]
    forge(path, lambda document: document["predicate"].update(engine="mysql"))
    envelope = Envelope.from_dict(json.loads(path.read_text()))
    with pytest.raises(VerificationError):
        envelope.verify([library_key(ground)], 1)


def documented_commands() -> str:
    text = (ROOT / "docs" / "evidence.md").read_text()
    blocks = re.findall(r"<!-- run: by hand -->\n+```sh\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def by_hand(ground: Ground) -> subprocess.CompletedProcess[str]:
    """The documented commands as written, in a folder that holds what they name."""
    (ground.folder / "evidence.pub.pem").write_bytes(ground.public.read_bytes())
    return subprocess.run(
        ["sh", "-eu", "-c", documented_commands()], cwd=ground.folder, capture_output=True, text=True, check=False
    )


def test_the_documented_commands_verify_a_record(ground):
    first, second = ground.append(2)
    done = by_hand(ground)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert statement_of(second)["predicate"]["previous"] in done.stdout
    assert first.name in documented_commands()


def test_the_documented_commands_deny_an_altered_record(ground):
    first = ground.append(2)[0]
    text = first.read_text()
    forge(first, lambda document: document["predicate"].update(engine="mysql"))
    envelope = json.loads(first.read_text())
    first.write_text(re.sub(r'"payload": "[^"]*"', f'"payload": "{envelope["payload"]}"', text))
    done = by_hand(ground)
    assert done.returncode != 0
    assert "Signature Verification Failure" in done.stdout + done.stderr
