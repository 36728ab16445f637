# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One operation at a time: the lock is the kernel's, and dies with its holder."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock, lock_path

from tests.modules import OWNER, REPO, ROOT, as_owner, environment

_HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
with host_lock(sys.argv[2], "backup"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def thing(tmp_path: Path) -> Iterator[str]:
    """A thing to lock, its lock file removed afterwards."""
    yield str(tmp_path / "data")
    lock_path(str(tmp_path / "data")).unlink(missing_ok=True)


@contextlib.contextmanager
def _holder(thing: str, owner: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    words = as_owner(owner) if owner else []
    with subprocess.Popen(
        [*words, sys.executable, "-c", _HOLD, str(REPO / ".collections"), thing],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=environment(),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_operation_refuses_and_names_the_holder(thing: str) -> None:
    with _holder(thing) as process:
        with pytest.raises(OpsError) as caught, host_lock(thing, "restore"):
            pytest.fail("both hold it")
        assert f"{thing} is in use by backup (pid {process.pid}, since 20" in str(caught.value)
        assert "wait for it to end or set lock_timeout" in str(caught.value)
        with host_lock(thing + ".other", "restore"):
            pass  # another thing is not in the way
    lock_path(thing + ".other").unlink()


def test_a_killed_holder_leaves_no_stale_lock(thing: str) -> None:
    with _holder(thing) as process:
        process.kill()
        process.wait()
        assert lock_path(thing).exists()  # the file stays, which means nothing
        with host_lock(thing, "restore"):
            pass


def test_waiting_ends_when_the_holder_does(thing: str) -> None:
    with _holder(thing) as process:
        assert process.stdin is not None
        # The holder goes while the other one is already waiting.
        ending = threading.Timer(0.3, process.stdin.close)
        ending.start()
        begun = time.monotonic()
        with host_lock(thing, "restore", wait_seconds=30):
            waited = time.monotonic() - begun
        ending.join()
        assert 0.2 < waited < 20


def test_waiting_has_an_end(thing: str) -> None:
    with _holder(thing):
        begun = time.monotonic()
        with pytest.raises(OpsError, match="is in use by backup"), host_lock(thing, "restore", wait_seconds=0.3):
            pytest.fail("both hold it")
        assert 0.3 <= time.monotonic() - begun < 10


def test_an_error_inside_releases_the_lock(thing: str) -> None:
    with pytest.raises(KeyError), host_lock(thing, "restore"):
        raise KeyError
    with host_lock(thing, "restore"):
        pass


def test_every_spelling_of_a_path_is_one_thing(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    real = lock_path(str(tmp_path / "real"))
    assert real == lock_path(str(tmp_path / "link")) == lock_path(f"{tmp_path}/link/../real/")
    assert real != lock_path(str(tmp_path / "other"))


def test_a_name_that_is_no_path_is_one_lock_wherever_the_worker_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = lock_path("pgbackrest/orders")
    monkeypatch.chdir(tmp_path)
    assert lock_path("pgbackrest/orders") == here


def test_a_lock_file_that_can_only_be_read_is_enough(thing: str) -> None:
    """Another account made it: in a sticky directory it can't be opened for writing then, not even by root."""
    path = lock_path(thing)
    path.touch()
    path.chmod(0o444)
    if not ROOT:  # root writes whatever the mode says; there another account tries below
        with host_lock(thing, "restore"):
            pass
        return
    with _holder(thing, OWNER):
        assert path.stat().st_uid == 0
        with pytest.raises(OpsError, match="is in use by"), host_lock(thing, "restore"):
            pytest.fail("both hold it")


def test_a_strict_umask_does_not_shut_other_accounts_out(thing: str) -> None:
    old = os.umask(0o077)
    try:
        with host_lock(thing, "restore"):
            pass
    finally:
        os.umask(old)
    assert lock_path(thing).stat().st_mode & 0o777 == 0o644
    if pwd.getpwnam(OWNER).pw_uid != os.geteuid():
        with _holder(thing, OWNER):
            pass
