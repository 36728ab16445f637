"""The auditor's page: its commands are run as they stand there, on sound ledgers and on others."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import follow_up, ledger, witness
from authority import Authority
from samples import ROOT, Ground, forge, record, statement_of

FAILED = [{"name": "rows", "required": True, "status": "failed"}]


def blocks(page: str = "auditor") -> dict[str, tuple[str, str]]:
    """Name -> language and commands."""
    text = (ROOT / f"docs/{page}.md").read_text()
    found = re.findall(r"<!-- audit: (\w+) -->\n+```(sh|python)\n(.*?)```", text, re.DOTALL)
    return {name: (language, commands) for name, language, commands in found}


NAMES = ["key", "record", "chain", "verdicts", "runs", "stamp", "library", "tool"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Ground:
    """A chain with a failure and what was done about it, stamped; everything where the page says it is."""
    ground = Ground.create(tmp_path_factory.mktemp("audit"))
    ground.append(2)
    failed = ledger.append(ground.ledger, record("orders", 2, checks=FAILED), ground.key).path
    digest = ledger.digest(failed.read_bytes())
    mended = {"kind": "corrective_action", "by": "Bob", "action": "mended"}
    follow_up.followed_up(ground.following("orders", digest, **mended), False)
    authority = Authority(ground.folder / "tsa")
    server = authority.serve()
    stamps = {"kind": "timestamp", "url": f"http://127.0.0.1:{server.server_port}/", "ca_file": str(authority.root)}
    witness.witnessed({"ledger": str(ground.ledger), "public_key": [str(ground.public)], "cluster": "orders",
                       "witness": [stamps]}, False)
    server.shutdown()
    server.server_close()
    shutil.copy(ground.public, ground.folder / "evidence.pub.pem")
    shutil.copy(authority.root, ground.folder / "tsa-root.pem")
    shutil.copy(ROOT / "tools/audit_evidence.py", ground.folder)
    return ground


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    language, commands = blocks()[name]
    argv = ["sh", "-eu", "-c"] if language == "sh" else [sys.executable, "-c"]
    return subprocess.run([*argv, commands], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_every_command_of_the_page_is_run_here():
    text = (ROOT / "docs/auditor.md").read_text()
    assert list(blocks()) == NAMES
    assert len(re.findall(r"^```\w", text, re.MULTILINE)) == len(NAMES)
    words = {line.split()[0] for language, body in blocks().values() if language == "sh"
             for line in re.split(r"[|;&\n]|\$\(", re.sub(r"'[^']*'", "", body)) if line.split()}
    programs = {word for word in words if shutil.which(word)} - {"[", "printf", "echo"}
    assert programs == {"openssl", "sha256sum", "base64", "jq", "python3", "cut", "cat", "wc", "ls", "basename", "grep"}


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_accept_a_sound_ledger(sound, name):
    done = run(name, sound.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    head = ledger.digest(ledger.record_files(sound.ledger / "orders")[-1].read_bytes())
    wanted = {
        "key": sound.key.keyid, "record": "Signature Verified Successfully", "chain": f"4 records, head {head}",
        "runs": "corrective_action\tverified\t\tBob\t", "stamp": "Verification: OK", "library": "verified",
        "tool": "OK     orders: 4 records",
    }.get(name, "")
    assert wanted in done.stdout + done.stderr


def altered(folder: Path) -> None:
    first = ledger.record_files(folder / "ledger/orders")[0]
    forge(first, lambda document: document["predicate"].update(engine="mysql"))


def removed(folder: Path) -> None:
    ledger.record_files(folder / "ledger/orders")[1].unlink()


def another_verdict(folder: Path) -> None:
    first = ledger.record_files(folder / "ledger/orders")[2]
    assert statement_of(first)["predicate"]["verdict"] == "failed"
    forge(first, lambda document: document["predicate"].update(verdict="verified"))


def another_key(folder: Path) -> None:
    other = Ground.create(folder / "other")
    shutil.copy(other.public, folder / "evidence.pub.pem")


def signed_anew(folder: Path) -> None:
    last = ledger.record_files(folder / "ledger/orders")[-1]
    last.write_text(last.read_text() + "\n")


@pytest.mark.parametrize(("name", "tamper"), [
    ("record", altered), ("record", another_key), ("chain", altered), ("chain", removed), ("chain", another_key),
    ("verdicts", another_verdict), ("stamp", signed_anew), ("library", altered), ("library", another_key),
    ("tool", altered), ("tool", removed), ("tool", another_verdict), ("tool", another_key),
], ids=lambda value: getattr(value, "__name__", value))
def test_the_commands_deny_what_was_tampered_with(sound, tmp_path, name, tamper):
    folder = tmp_path / "copy"
    shutil.copytree(sound.folder, folder)
    tamper(folder)
    assert run(name, folder).returncode != 0
