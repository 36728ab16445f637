# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The caching proxy on the bridge: the hosts' only way out, and only to the Debian mirror."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tests.lab import plan
from tests.lab.cgroup import SQUID, Group
from tests.lab.run import LabError, attempt, last_line, run, wait_until

USER = "proxy"  # the account of Debian's squid package
CACHE_MB = 8192
URL = f"http://{plan.CONTROLLER_ADDRESS}:{plan.PROXY_PORT}"


def upstream(environ: dict[str, str] | None = None) -> str | None:
    """Return the HTTP proxy that this machine's own apt uses, None when it goes straight to the mirror."""
    done = attempt(["apt-config", "shell", "FOUND", "Acquire::http::Proxy"])
    found = re.search(r"FOUND='([^']+)'", done.stdout)
    url = found.group(1) if found else (environ or dict(os.environ)).get("http_proxy", "")
    return url if url and url != "DIRECT" else None


def config(where: plan.Paths, parent: str | None) -> str:
    """Return squid's configuration; parent is the URL of a proxy to go through."""
    logs = where.run / "squid"
    host = urlsplit(plan.MIRROR).hostname
    lines = [
        f"http_port {plan.CONTROLLER_ADDRESS}:{plan.PROXY_PORT}",
        f"acl lab src {plan.PREFIX}0/{plan.NETMASK}",
        f"acl mirror dstdomain {host}",
        "acl plain method GET HEAD",
        "http_access allow lab mirror plain",
        "http_access deny all",
        f"cache_effective_user {USER}",
        f"cache_dir ufs {where.squid} {CACHE_MB} 16 256",
        "cache_mem 64 MB",
        "maximum_object_size 300 MB",
        "read_ahead_gap 1 MB",
        # Four hosts that ask for one package at once cause one download, and it ends even if they give up.
        "collapsed_forwarding on",
        "quick_abort_min -1 KB",
        # A package or an index named by its hash never changes. apt asks for indices with max-age=0.
        r"refresh_pattern \.deb$ 129600 100% 129600 override-expire ignore-reload",
        "refresh_pattern /by-hash/ 129600 100% 129600 override-expire ignore-reload",
        "refresh_pattern . 0 0% 0",
        f"cache_log {logs}/cache.log",
        f"access_log stdio:{logs}/access.log",
        "pid_filename none",
        "coredump_dir none",
        "netdb_filename none",
        "pinger_enable off",
        "icp_port 0",
        "via off",
        "forwarded_for delete",
        "shutdown_lifetime 0 seconds",
        "visible_hostname boringdb-lab",
    ]
    if parent:
        url = urlsplit(parent)
        login = f" login={url.username}:{url.password}" if url.username else ""
        lines += [
            f"cache_peer {url.hostname} parent {url.port or 8080} 0 no-query default{login}",
            "never_direct allow all",
        ]
    return "\n".join(lines) + "\n"


def listening() -> bool:
    """Return whether the proxy accepts connections."""
    try:
        with socket.create_connection((plan.CONTROLLER_ADDRESS, plan.PROXY_PORT), timeout=1):
            return True
    except OSError:
        return False


def start(where: plan.Paths) -> bool:
    """Start squid unless it runs; return whether it was started."""
    group = Group(SQUID)
    if group.populated() and listening():
        return False
    group.kill()
    try:
        account = pwd.getpwnam(USER)
    except KeyError as exc:
        raise LabError(f"squid's account {USER!r} does not exist: apt-get install squid") from exc
    logs = where.run / "squid"
    for directory in (where.squid, logs):
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, account.pw_uid, account.pw_gid)
    conf = where.run / "squid.conf"
    conf.touch(mode=0o600)  # a parent proxy's URL may carry a password
    conf.write_text(config(where, upstream()))
    if not (where.squid / "00").exists():
        run(group.argv(["squid", "-N", "-z", "-f", str(conf)]), timeout=120)
    with (logs / "output").open("w") as output:
        squid = subprocess.Popen(
            group.argv(["squid", "-N", "-f", str(conf)]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )

    def ready() -> bool:
        if squid.poll() is not None:
            said = last_line(Path(output.name).read_text()) or f"see {logs}/cache.log"
            raise LabError(f"squid ended at once: {said}")
        return listening()

    wait_until(ready, 30, f"squid does not listen on {URL} (see {logs}/cache.log)")
    return True


def stop() -> None:
    """End squid so that it writes its cache index; by force when it does not."""
    group = Group(SQUID)
    for pid in group.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    # Its cache survives a kill: only the index is rebuilt at the next start.
    with contextlib.suppress(LabError):
        wait_until(lambda: not group.populated(), 10, "squid does not end")
    group.kill()
