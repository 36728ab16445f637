"""Writers side by side, and writers that are killed."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import keys, ledger
from samples import ROOT, Ground, record

FORK = multiprocessing.get_context("fork")
ENDLESS = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from samples import record, keys, ledger
key = keys.load_private(Path(sys.argv[3]))
number = int(sys.argv[5])
while True:
    ledger.append(Path(sys.argv[4]), record(day=number), key)
    print("wrote", flush=True)
    number += 1
"""


def write_many(ground: Ground, writer: int, count: int) -> None:
    for number in range(count):
        ledger.append(ground.ledger, record(day=writer * 100 + number), ground.key)
        ledger.append(ground.ledger, record("billing", day=writer * 100 + number), ground.key)


def test_parallel_writers_make_one_chain(ground):
    workers = [FORK.Process(target=write_many, args=(ground, writer, 8)) for writer in range(6)]
    for worker in workers:
        worker.start()
    # Readers at the same time never see half a record or a gap that is not there.
    while any(worker.is_alive() for worker in workers):
        assert [kind for kind in ground.kinds() if kind[0] != "empty"] == []
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert ground.kinds() == []
    for cluster in ("orders", "billing"):
        numbers = [int(path.name[:8]) for path in ledger.record_files(ground.ledger / cluster)]
        assert numbers == list(range(1, 49))


def test_killed_writers_leave_whole_records(ground):
    chance = random.Random(7)
    attempts = 25
    for attempt in range(attempts):
        writer = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(ROOT / ".collections"), str(ROOT / "tests/unit/evidence"),
             str(ground.private), str(ground.ledger), str(attempt * 100_000)],
            stdout=subprocess.PIPE,
        )
        try:
            assert writer.stdout.readline()
            # Then die at an arbitrary instant of writing the next ones: that is what is tried here.
            end = time.monotonic() + chance.uniform(0, 0.01)
            while time.monotonic() < end:
                pass
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        assert ground.kinds() == []
    assert len(ledger.record_files(ground.ledger / "orders")) >= attempts
    assert ground.audit().returncode == 0


def die_at(ground: Ground, call: int) -> None:
    """Appends a record and dies right before the call-th time that anything is made durable or renamed."""
    calls = iter(range(call + 1))
    real = {"fsync": os.fsync, "replace": os.replace}

    def counted(name):
        def wrapper(*arguments):
            if next(calls, call) == call:
                os._exit(9)
            return real[name](*arguments)

        return wrapper

    os.fsync, os.replace = counted("fsync"), counted("replace")
    ledger.append(ground.ledger, record(day=1), ground.key)
    os._exit(0)


def test_a_writer_dies_at_every_step_there_is(ground):
    ground.append(1)
    outcomes = []
    for call in range(20):
        worker = FORK.Process(target=die_at, args=(ground, call))
        worker.start()
        worker.join()
        assert ground.kinds() == []
        outcomes.append((worker.exitcode, len(ledger.record_files(ground.ledger / "orders"))))
        if worker.exitcode == 0:
            break
    # Dead with nothing written, dead with the record written, and at last done: the rerun found its record.
    assert (9, 1) in outcomes and (9, 2) in outcomes and outcomes[-1] == (0, 2)
    assert [path.name for path in (ground.ledger / "orders").iterdir() if path.name.endswith(".tmp")] == []


def test_leftovers_of_a_killed_writer_are_ignored_and_cleaned(ground):
    ground.append(1)
    folder = ground.ledger / "orders"
    leftover = folder / ".00000002-restore_drill-20261002T030412Z.dsse.json.99999.tmp"
    leftover.write_text('{"payload": ')
    assert ground.kinds() == []
    assert ground.audit().returncode == 0
    ground.append(1, first_day=1)
    assert not leftover.exists()
    assert ground.kinds() == []


def test_a_writer_that_hangs_is_named(ground):
    ground.append(1)
    with (ground.ledger / "orders" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(keys.EvidenceError, match="another writer has held"):
            ledger.append(ground.ledger, record(day=1), ground.key, lock_seconds=0.05)
        # Another cluster's chain is not held up by it.
        ledger.append(ground.ledger, record("billing"), ground.key, lock_seconds=0.05)


def test_a_full_disk_is_one_clear_error(ground):
    full = ground.folder / "notafolder"
    full.write_text("")
    with pytest.raises(keys.EvidenceError, match=r"cannot be written .* nothing was recorded"):
        ledger.append(full, record(), ground.key)
