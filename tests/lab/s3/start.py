# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the store, with a certificate of a CA of ours."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab.s3.store import SECRETS, WRITER

ROOT = Path(__file__).resolve().parents[3]
REGION = "eu-central-1"
NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"


def authority(home: Path, name: str) -> None:
    """A CA: `name`.pem and its key."""
    openssl(home, f"req -x509 -days 2 {NEW_KEY}", "-subj", f"/CN=a CA named {name}", "-keyout", f"{name}.key",
            "-out", f"{name}.pem")  # fmt: skip


def certificate(home: Path, *names: str) -> None:
    """The store's, for its names, signed by `ca`."""
    openssl(home, f"req {NEW_KEY}", "-subj", f"/CN={names[0]}", "-keyout", "store.key", "-out", "store.csr")
    (home / "names").write_text(f"subjectAltName={','.join(f'DNS:{name}' for name in names)}\n")
    signed = "x509 -req -in store.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
    openssl(home, signed, "-extfile", "names", "-out", "store.pem")


def openssl(home: Path, words: str, *more: str) -> None:
    argv = ["openssl", *words.split(), *more]
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def started(home: Path, address: str, port: int) -> int:
    """Start it in a session of its own, with the certificate in `home`; returns its process once it answers."""
    argv = [sys.executable, "-m", "tests.lab.s3.store", address, str(port)]
    with (home / "store.log").open("w") as log:
        store = subprocess.Popen(
            [*argv, str(home / "store.pem"), str(home / "store.key")],
            cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 60
    while store.poll() is None:
        try:
            socket.create_connection((address, port), 1).close()
            return store.pid
        except OSError:
            assert time.monotonic() < deadline, (home / "store.log").read_text()
            time.sleep(0.1)
    raise AssertionError((home / "store.log").read_text())


def stop(pid: int) -> None:
    """End it, whoever has started it. Its objects are gone with it."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def client(address: str, port: int, authorities: str = "") -> Any:
    """boto3's client of it, which judges its certificate where a CA is named."""
    import boto3
    import urllib3

    # The certificate has no address, and pgBackRest's trust in it is what is tried.
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return boto3.client(
        "s3", endpoint_url=f"https://{address}:{port}", region_name=REGION, verify=authorities or False,
        aws_access_key_id=WRITER, aws_secret_access_key=SECRETS[WRITER],
    )  # fmt: skip


def make_bucket(store: Any, name: str, lock: bool = False) -> None:
    """An empty bucket, which can be locked where that is said."""
    place = {"LocationConstraint": REGION}
    store.create_bucket(Bucket=name, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=lock)


def keep(store: Any, bucket: str, mode: str, **time: int) -> None:
    """Have a bucket that can be locked keep what is written from now on: `Days` or `Years`."""
    rule = {"DefaultRetention": {"Mode": mode, **time}}
    store.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
