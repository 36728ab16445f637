# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ledger for two controllers, in a bucket and on a host: one chain, whoever writes when.

The host is this machine here, by a program that is called as ssh is; over SSH, it is in the lab's tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", ROOT / "tests/unit/evidence"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from ansible_collections.boringdb.ops.plugins.module_utils._core import ledger, ledger_shared  # noqa: E402
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError  # noqa: E402
from running import playbook, results  # noqa: E402
from samples import Ground, record, statement_of  # noqa: E402


class Controller(Ground):
    """A ledger of its own, the same key, the same bucket."""

    options: dict[str, Any]

    def write(self, day: float, **changes: Any) -> ledger.Appended:
        """Append one record."""
        store = ledger_shared.shared(self.options)
        return ledger.append(self.ledger, record("orders", day, **changes), self.key, store=store)

    def sync(self, check_mode: bool = False) -> list[str]:
        """Read what others wrote."""
        given = {"ledger": str(self.ledger), "store": self.options, "cluster": None, "lock_timeout": 5}
        outcome = ledger_shared.synced(given, check_mode)
        assert outcome.changed == bool(outcome.facts["moved"])
        return outcome.facts["moved"]

    def names(self) -> list[str]:
        """The files of the chain."""
        return [path.name for path in ledger.record_files(self.ledger / "orders")]


SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
[ "$2" != nowhere ] || { echo "ssh: Could not resolve hostname nowhere" >&2; exit 255; }
exec sh -c "$3"
"""


@pytest.fixture(params=["bucket", "host"])
def two(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Controller, Controller]:
    """Two controllers."""
    first = Controller.create(tmp_path)
    if request.param == "bucket":
        first.options = {**request.getfixturevalue("store"), "bucket": "plain", "prefix": tmp_path.name}
    else:
        program = tmp_path / "bin/ssh"
        program.parent.mkdir()
        program.write_text(SSH)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        first.options = {"host": "evidence.example.com", "path": str(tmp_path / "there/ledger's")}
    second = Controller(tmp_path, tmp_path / "second", first.private, first.public)
    second.options = first.options
    return first, second


def test_two_controllers_make_one_chain(two: tuple[Controller, Controller]) -> None:
    first, second = two
    assert first.write(0).sequence == 1 and second.write(1).sequence == 2 and first.write(2).sequence == 3
    again = second.write(0)
    assert (again.changed, again.sequence) == (False, 1)
    assert first.sync(check_mode=True) == [] and first.sync() == [] and second.sync() == []
    assert first.names() == second.names() and len(first.names()) == 3
    assert first.kinds() == [] and second.kinds() == []


def test_at_once_each_gets_a_place_of_its_own(two: tuple[Controller, Controller]) -> None:
    # Each one's key is there before: what is written at once is the chain.
    done = [two[number].write(number) for number in (0, 1)]
    with ThreadPoolExecutor(4) as pool:
        done += pool.map(lambda number: two[number % 2].write(number), range(2, 8))
    assert sorted(one.sequence for one in done) == list(range(1, 9))
    for one in two:
        one.sync()
        assert one.kinds() == [] and len(one.names()) == 8


def test_a_place_that_is_taken_in_between_is_read_and_the_next_one_tried(
    two: tuple[Controller, Controller], monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = two
    first.write(0)
    kind = type(ledger_shared.shared(first.options))
    claim = kind.claim
    tried = []

    def meanwhile(self: Any, cluster: str, sequence: int, data: bytes) -> bool:
        tried.append(sequence)
        if len(tried) == 1:
            monkeypatch.setattr(kind, "claim", claim)
            second.write(1)
            monkeypatch.setattr(kind, "claim", meanwhile)
        return claim(self, cluster, sequence, data)

    monkeypatch.setattr(kind, "claim", meanwhile)
    assert first.write(2).sequence == 3 and tried == [2, 3]
    assert first.kinds() == [] and first.names()[1] == second.names()[1]


def test_a_writer_that_died_after_the_store_took_its_record_finds_it(
    two: tuple[Controller, Controller], monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, _second = two
    first.write(0)

    def killed(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            first.write(1)
    assert len(first.names()) == 1
    again = first.write(1)
    assert (again.changed, again.sequence, len(first.names())) == (False, 2, 2) and first.kinds() == []


def test_a_ledger_that_was_there_before_goes_into_the_store_and_comes_back(
    two: tuple[Controller, Controller],
) -> None:
    first, second = two
    first.append(3)
    assert len(first.sync(check_mode=True)) == 3 and second.sync() == []
    assert len(first.sync()) == 3 and first.sync() == []
    assert len(second.sync()) == 3 and second.names() == first.names()
    ledger.record_files(first.ledger / "orders")[-1].unlink()
    assert first.sync() == ["orders/00000003 from the store"] and first.kinds() == []
    shutil.rmtree(first.ledger)
    assert len(first.sync()) == 3 and first.kinds() == []


def put(controller: Controller, place: int, data: bytes) -> None:
    """What somebody else wrote there."""
    options, name = controller.options, f"orders/{place:08d}.dsse.json"
    if "host" in options:
        Path(options["path"], name).write_bytes(data)
    else:
        client = ledger_shared.shared(options).client
        client.put_object(Bucket="plain", Key=f"{options['prefix']}/{name}", Body=data)


def test_ledgers_that_were_written_apart_are_not_mixed(two: tuple[Controller, Controller]) -> None:
    first, second = two
    first.write(0)
    second.append(2, first_day=5)
    before = second.names()
    with pytest.raises(OpsError, match="record 1 of orders is another one here"):
        second.sync()
    with pytest.raises(OpsError, match="record 1 of orders is another one here"):
        second.write(9)
    assert second.names() == before
    for body in (b"junk", b"\xff"):
        put(first, 2, body)
        with pytest.raises(OpsError, match="is no record"):
            first.sync()
    put(first, 2, ledger.record_files(first.ledger / "orders")[0].read_bytes())
    with pytest.raises(OpsError, match="belongs elsewhere"):
        first.sync()
    assert len(first.names()) == 1


def test_a_store_that_can_not_be_asked_records_nothing(two: tuple[Controller, Controller]) -> None:
    first, _second = two
    of_bucket = [({"port": 1}, "can't be asked"), ({"bucket": "nowhere"}, "NoSuchBucket"),
                 ({"bucket": ""}, "bucket of the ledger's store is empty")]  # fmt: skip
    of_host = [
        ({"host": "nowhere"}, "can't be asked: ssh: Could not resolve hostname nowhere"),
        ({"host": "-oProxyCommand=x"}, "host of the ledger's store is"),
        ({"path": "relative"}, "path of the ledger's store is 'relative'"),
        ({"path": "/proc/nothing"}, r"/proc/nothing on evidence\.example\.com: .*nothing was recorded"),
    ]
    for wrong, said in of_host if "host" in first.options else of_bucket:
        first.options = {**two[1].options, **wrong}
        with pytest.raises(OpsError, match=said):
            first.write(0)
    assert first.names() == []


def test_playbooks_read_the_store_first(two: tuple[Controller, Controller]) -> None:
    first, second = two
    play = first.folder / "play.yml"
    play.write_text("- hosts: one\n  gather_facts: false\n  roles:\n    - role: boringdb.ops.evidence\n"
                    "      evidence_record: '{{ given }}'\n")  # fmt: skip
    given = {"evidence_store": first.options, "evidence_key": str(first.private), "given": record()}
    done = playbook(first, play, "-vvv", evidence_ledger=str(first.ledger), **given)
    assert done.returncode == 0, done.stdout
    assert first.options.get("key_secret", "a secret") not in done.stdout + done.stderr
    trusted = {"evidence_store": first.options, "evidence_ledger": str(second.ledger),
               "evidence_public_key": str(first.public)}  # fmt: skip
    done = playbook(first, ROOT / "playbooks/verify_evidence.yml", **trusted)
    assert done.returncode == 0 and "orders: 1 record, all signatures good" in done.stdout, done.stdout
    assert second.names() == first.names()
    first.write(1)
    done = playbook(first, ROOT / "playbooks/report.yml", report_dest=str(first.folder / "out.html"), **trusted)
    assert done.returncode == 0, done.stdout
    assert results(first, "Bring the ledger and its store to the same state")[0]["changed"]
    assert statement_of(second.ledger / "orders" / second.names()[1])["predicate"]["sequence"] == 2


@pytest.mark.parametrize("two", ["host"], indirect=True)
def test_a_record_of_which_only_a_part_arrives_takes_no_place(
    two: tuple[Controller, Controller], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    first.write(0)
    whole = subprocess.run

    def broken(argv: list[str], **more: Any) -> Any:
        cut = {**more, "input": more["input"][:100]}
        return whole(argv, check=cut.pop("check"), **cut)

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", broken)
        with pytest.raises(OpsError, match="the connection broke off; nothing was recorded"):
            first.write(1)
    assert len(first.names()) == 1
    there = Path(first.options["path"], "orders")
    assert [path.name for path in there.iterdir()] == ["00000001.dsse.json"]
    assert second.write(2).sequence == 2
