# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program on a balancer's host that tells HAProxy who takes writes and which replica is fresh.

It stands alone: the module `pool_balancer` puts it on the host, where it needs psycopg and nothing of the collection.
It asks every member by one connection that stays, as an account without any rights, and answers HAProxy on the loopback
address: `GET /rw/NAME` and `GET /ro/NAME`, 200 or 503 with the cause. What it does not know is a no.

- Writes go to the only member that takes them, and to none while there are two: such rows can't be put together again.
- A replica is fresh when it has replayed all that the primary had flushed a given time ago, as seen from here: no clock
  of another host counts, an idle primary makes nobody late, and without a primary everybody is late after that time.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import http.server
import json
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

try:
    import psycopg
except ImportError:
    psycopg = None

ASK = """
SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END
        - '0/0'::pg_lsn)::bigint,
       EXISTS (SELECT FROM pg_stat_wal_receiver)
"""
#: Of a replica since the program began: it takes a second question.
EARLY = "was not compared with the primary yet"
UNPROVEN = float("-inf")


class Seen(NamedTuple):
    """What a server said: when it was asked, when it had answered."""

    asked: float
    answered: float
    replica: bool
    closed: bool
    position: int


class Member:
    """One server."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name, self.host, self.port = name, host, port
        self.problem = "was not asked yet"
        self.asked = threading.Event()
        self.begun, self.cut = 0.0, False
        self.connection: Any = None
        self.seen: Seen | None = None
        self.proven = self.streamed = UNPROVEN


class Check:
    """All members, and the judgement."""

    def __init__(self, config_file: Path) -> None:
        text = config_file.read_text(encoding="utf-8")
        given = json.loads(text)
        self.account, self.database = str(given["user"]), str(given["database"])
        self.passfile = Path(os.environ.get("CREDENTIALS_DIRECTORY") or config_file.parent) / given["passfile"]
        self.interval, self.timeout = float(given["interval"]), float(given["timeout"])
        self.max_lag, self.max_lag_bytes = float(given["max_lag"]), int(given["max_lag_bytes"])
        self.port, self.started = int(given["port"]), time.time()
        self.digest = digest(Path(__file__).read_text(encoding="utf-8"), text)
        self.members = {one["name"]: Member(one["name"], one["host"], int(one["port"])) for one in given["members"]}
        #: Where the primary was, and when. Only of the one that is primary now.
        self.samples: collections.deque[tuple[float, int]] = collections.deque(maxlen=10000)
        self.primary = ""
        self.lock = threading.Lock()
        self.said: dict[str, str] = {}

    def watch(self, member: Member) -> None:
        """Ask one member for ever: whatever happens is a no, and not an end."""
        while True:
            member.begun, member.cut = time.monotonic(), False
            try:
                self.ask(member)
            except Exception as exc:
                with self.lock:
                    # One that hung is asked again on a new connection, and what it said before grows old meanwhile.
                    member.seen = member.seen if member.cut else None
                    member.problem = " ".join(str(exc).split()) or type(exc).__name__
                with contextlib.suppress(Exception):
                    member.connection.close()
                member.connection = None
            member.asked.set()
            self.tell()
            begun, member.begun = member.begun, 0.0
            time.sleep(max(0.05, self.interval - (time.monotonic() - begun)))

    def ask(self, member: Member) -> None:
        """One question. A connection that stays gets an answer also where the server takes no more of them."""
        if member.connection is None:
            seconds = max(2, round(self.timeout))
            member.connection = psycopg.connect(
                host=member.host, port=member.port, user=self.account, dbname=self.database, autocommit=True,
                password=self.passfile.read_text(encoding="utf-8").strip(), connect_timeout=seconds,
                tcp_user_timeout=seconds * 1000, application_name="boringdb_pool_check", prepare_threshold=None,
            )  # fmt: skip
        at = time.monotonic()
        replica, closed, position, streams = member.connection.execute(ASK).fetchone()
        with self.lock:
            member.seen = Seen(at, time.monotonic(), replica, closed, position or 0)
            member.problem = ""
            self.note(member, member.seen)
            if replica and streams:
                member.streamed = at

    def note(self, member: Member, seen: Seen) -> None:
        """Keep where the primary is, and what is proven of a replica."""
        if not self.writes(member.name):
            if self.primary != member.name:
                self.primary = member.name
                self.samples.clear()
            self.samples.append((seen.asked, seen.position))
        if seen.replica:
            # The newest moment of the primary of which all is there.
            there = (when for when, where in reversed(self.samples) if when <= seen.asked and where <= seen.position)
            member.proven = max(member.proven, next(there, member.proven))

    def unhang(self) -> None:
        """Cut a connection on which nobody answers: the question ends, and is asked on a new one."""
        while True:
            time.sleep(self.timeout / 4)
            for member in self.members.values():
                begun, connection = member.begun, member.connection
                if connection is not None and begun and time.monotonic() - begun > self.timeout:
                    member.cut = True
                    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as line:
                        line.shutdown(socket.SHUT_RDWR)

    # --- judging: an empty string is a yes, all else is why not -----------------------------------------------------

    def silent(self, member: Member) -> str:
        """Why nothing is known of it."""
        if member.seen is None:
            return member.problem
        age = time.monotonic() - member.seen.asked
        return f"did not answer for {age:.1f} s" if age > self.interval + 2 * self.timeout else ""

    def writes(self, name: str) -> str:
        """Whether it is the only one that takes writes."""
        member = self.members[name]
        silent = self.silent(member)
        if silent or member.seen is None:
            return silent
        if member.seen.replica:
            return "is a replica"
        if member.seen.closed:
            return "default_transaction_read_only is on"
        others = [
            one.name
            for one in self.members.values()
            if one.seen and one is not member and not (self.silent(one) or one.seen.replica or one.seen.closed)
        ]
        return f"{' and '.join([name, *others])} take writes: end all but one" if others else ""

    def reads(self, name: str) -> str:
        """Whether it is a replica that is fresh enough."""
        member, now = self.members[name], time.monotonic()
        silent = self.silent(member)
        if silent or member.seen is None:
            return silent
        if not member.seen.replica:
            return "is no replica"
        when, where = self.samples[-1] if self.samples else (0.0, member.seen.position)
        behind = where - member.seen.position
        found = {
            "does not stream": now - member.streamed > self.max_lag,
            EARLY: self.samples and member.proven == UNPROVEN and now - self.samples[0][0] <= self.max_lag,
            f"lags more than {self.max_lag:g} s": self.samples and now - member.proven > self.max_lag,
            "no primary to compare with": not self.samples and now - member.proven > self.max_lag,
            # As the primary had said after this one.
            "is ahead of the primary: of another history": behind < 0 and when > member.seen.answered,
            f"lags {behind} bytes": 0 < self.max_lag_bytes < behind,
        }
        return next((why for why, holds in found.items() if holds), "")

    def answer(self, path: str) -> tuple[int, str]:
        """The status and the word for a path."""
        until = time.monotonic() + self.timeout
        for member in self.members.values():
            member.asked.wait(max(0.0, until - time.monotonic()))
        kind, _slash, name = path.strip("/").partition("/")
        if not kind:
            return 200, json.dumps(self.facts())
        judge = {"rw": self.writes, "ro": self.reads}.get(kind)
        if judge is None or name not in self.members:
            return 404, "ask for /rw/NAME or /ro/NAME"
        with self.lock:
            why = judge(name)
        return (503, why) if why else (200, "yes")

    def facts(self) -> dict[str, Any]:
        """All that is known, for people and for the module."""
        with self.lock:
            members = [
                {"name": name, "address": f"{one.host}:{one.port}", "problem": self.silent(one),
                 "writes": self.writes(name) or "yes", "reads": self.reads(name) or "yes"}
                for name, one in self.members.items()
            ]  # fmt: skip
        return {"digest": self.digest, "started": self.started, "members": members}

    def tell(self) -> None:
        """Say to the journal what has become of a member, once."""
        with self.lock:
            for name in self.members:
                words = f"writes: {self.writes(name) or 'yes'}; reads: {self.reads(name) or 'yes'}"
                # Numbers that run are no news.
                if re.sub(r"[\d.]+", "", self.said.get(name, "")) != re.sub(r"[\d.]+", "", words):
                    sys.stderr.write(f"{name}: {words}\n")
                    self.said[name] = words

    def serve(self) -> None:
        """Answer for ever: on the socket that systemd holds, or on an own one."""
        check = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                """One answer; HAProxy shows the word beside the status."""
                code, words = check.answer(self.path)
                body = f"{words}\n".encode()
                self.send_response(code, (words if code != 200 else "OK").encode("ascii", "replace").decode()[:120])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: object) -> None:
                """Not each of them."""

        class Answering(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        held = os.environ.get("LISTEN_PID") == str(os.getpid())
        server = Answering(("127.0.0.1", self.port), Handler, bind_and_activate=not held)
        if held:
            server.socket = socket.socket(fileno=3)
        for member in self.members.values():
            threading.Thread(target=self.watch, args=(member,), daemon=True).start()
        threading.Thread(target=self.unhang, daemon=True).start()
        server.serve_forever()


def digest(program: str, config: str) -> str:
    """By which it is told whether what runs is what is on the disk."""
    return hashlib.sha256(f"{program}\0{config}".encode()).hexdigest()[:16]


def command(stats: str, words: str, seconds: float = 5) -> str:
    """What HAProxy answers on its socket."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(seconds)
        line.connect(stats)
        line.sendall(f"{words}\n".encode())
        parts = []
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")


def save_state(stats: str, closed: Path, state: Path) -> None:
    """Leave to the next process what this one knows. Whom it does not know is closed, and all are where none runs."""
    lines = closed.read_text(encoding="utf-8").splitlines()
    known: dict[tuple[str, str, str, str], str] = {}
    with contextlib.suppress(OSError):
        for line in command(stats, "show servers state").splitlines()[2:]:
            words = line.split()
            if len(words) > 18:
                known[words[1], words[3], words[4], words[18]] = line
    for number, line in enumerate(lines[2:], 2):
        words = line.split()
        lines[number] = known.get((words[1], words[3], words[4], words[18]), line)
    state.with_name(f".{state.name}.tmp").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    state.with_name(f".{state.name}.tmp").replace(state)


if __name__ == "__main__":
    if sys.argv[1] == "--save-state":
        save_state(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        Check(Path(sys.argv[1])).serve()
