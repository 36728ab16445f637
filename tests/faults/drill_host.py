"""What can be done to the embedded ground's drill host, which is this machine."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.faults.supplies import Damage, Variables
from tests.modules import OWNER, ROOT

if TYPE_CHECKING:
    from tests.faults.ground import Ground


class NotHere(Exception):
    """This fault can't be shown on this machine; the text says why."""


class EmbeddedDrillHost:
    """See tests.faults.supplies.DrillHost."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    @contextlib.contextmanager
    def port_taken(self) -> Iterator[Variables]:
        with socket.socket() as other:
            other.bind(("127.0.0.1", self._ground.first_port + 8))
            other.listen()
            yield {}

    @contextlib.contextmanager
    def small_disk(self, options: str) -> Iterator[Variables]:
        if not ROOT:
            raise NotHere("mounting a small filesystem needs root")
        place = self._ground.home / "disk"
        place.mkdir(exist_ok=True)
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{options},mode=0700,uid={OWNER}", "boringdb-faults", str(place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise NotHere(f"no filesystem can be mounted: {made.stderr.strip()}")
        try:
            yield {"restore_drill_root": str(place)}
        finally:
            subprocess.run(["umount", str(place)], check=True)
            shutil.rmtree(place)

    @contextlib.contextmanager
    def hindered(self) -> Iterator[Variables]:
        if not ROOT:
            raise NotHere("making a file that the copy's account can't remove needs root")
        copy = self._ground.copy
        ended = threading.Event()

        def hinder() -> None:
            while not ended.is_set():
                if (copy / "postmaster.pid").exists():
                    (copy / "boringdb/foreign").mkdir()
                    (copy / "boringdb/foreign/file").touch()
                    return
                time.sleep(0.01)

        thread = threading.Thread(target=hinder)
        thread.start()
        try:
            yield {}
        finally:
            ended.set()
            thread.join()
            # What else is left of the copy is for the next drill to clean up.
            shutil.rmtree(copy / "boringdb/foreign", ignore_errors=True)

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[Variables]:
        # A port that nothing listens on: refused at once, as by a host whose sshd is down.
        gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
        inventory = self._ground.evidence / "gone.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"gone": gone}}}))
        self._ground.inventories.append(inventory)
        try:
            yield {"drill_host": "gone"}
        finally:
            self._ground.inventories.remove(inventory)

    def without_amcheck(self) -> Damage:
        """The wheel's PostgreSQL has none."""
        return contextlib.nullcontext({})
