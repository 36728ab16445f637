# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary and its replica, for modules alone: no playbook, no inventory."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

from embedded_servers import Server, alive, await_, bin_dir, free_port
from verify_ground import backup

from tests.modules import OWNER, ROOT

#: Of the account `guard`, which replicates.
SECRET = "for:the\\guard of 'this' test"
RULES = "local all all trust\nlocal replication all trust\nhost replication guard 127.0.0.1/32 scram-sha-256\n"


class Duo:
    """The two of them, in one folder."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
        self.home.chmod(0o755)
        self.one, self.two = (self._server(name) for name in ("one", "two"))

    def _server(self, name: str) -> Server:
        place = self.home / name
        place.mkdir(mode=0o755)
        if ROOT:
            shutil.chown(place, OWNER)
        return Server(free_port(), place, place / "data", bin_dir(16), OWNER)

    def up(self) -> None:
        """The second one follows the first."""
        self.one.initdb()
        (self.one.data_dir / "pg_hba.conf").write_text(RULES)
        with (self.one.data_dir / "postgresql.conf").open("a") as conf:
            conf.write("fsync = off\nauthentication_timeout = 5s\nwal_log_hints = on\n")
        self.one.start()
        self.one.psql("CREATE ROLE guard LOGIN REPLICATION PASSWORD 'for:the\\guard of ''this'' test'")
        shutil.move(backup(self.one, "copy"), self.two.data_dir)
        passfile = self.two.socket_dir / "pass"
        passfile.write_text("*:*:*:guard:" + SECRET.replace("\\", "\\\\").replace(":", "\\:") + "\n")
        passfile.chmod(0o600)
        if ROOT:
            shutil.chown(passfile, OWNER)
        with (self.two.data_dir / "postgresql.conf").open("a") as conf:
            conf.write(f"port = {self.two.port}\nunix_socket_directories = '{self.two.socket_dir}'\n")
            conf.write(f"primary_conninfo = 'host=127.0.0.1 port={self.one.port} user=guard passfile={passfile}'\n")
        (self.two.data_dir / "standby.signal").touch()
        self.two.start()
        streaming = "SELECT state FROM pg_stat_replication"
        await_(lambda: self.one.psql(streaming) == "streaming", what="the replica")

    def down(self) -> None:
        """Nothing is left of it."""
        for server in (self.one, self.two):
            if server.pid and alive(server.pid):
                os.kill(server.pid, signal.SIGCONT)
                server.stop("immediate")
        shutil.rmtree(self.home)
