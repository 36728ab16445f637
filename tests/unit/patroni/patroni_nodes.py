# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of Patroni that answer over HTTP as 3.0.2 does; the shapes were captured from three hosts of Debian 12."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

Response = tuple[int, Any]


class Nodes:
    """A leader db1 and a replica db2, and what becomes of them when they are told to do something."""

    def __init__(self) -> None:
        self.leader = "db1"
        self.timeline = 4
        self.paused = False
        self.states = {"db1": "running", "db2": "running"}
        self.tags: dict[str, dict[str, Any]] = {}
        self.started = "2026-11-27 20:00:00.000000+00:00"
        self.scheduled: dict[str, Any] | None = None
        self.urls: dict[str, str] = {}
        self.asked: list[tuple[str, str, str, Any]] = []
        self.logins: list[str] = []
        self.config: dict[str, Any] = {"ttl": 30, "postgresql": {"parameters": {}}}
        self.orders: dict[str, Callable[[dict[str, Any]], Response]] = {}

    def switch(self, body: dict[str, Any]) -> Response:
        """What POST /switchover does where nothing is in the way."""
        self.leader, self.timeline = body["candidate"], self.timeline + 1
        return 200, f'Successfully switched over to "{body["candidate"]}"'

    def cluster(self) -> dict[str, Any]:
        """GET /cluster."""
        rows = []
        for number, (name, state) in enumerate(self.states.items(), 1):
            role = "leader" if name == self.leader else "replica"
            row: dict[str, Any] = {
                "name": name, "role": role, "state": state, "api_url": f"{self.urls[name]}/patroni",
                "host": f"192.0.2.{number}", "port": 5432, "timeline": self.timeline, "tags": self.tags.get(name, {}),
            }  # fmt: skip
            rows.append(row if role == "leader" else {**row, "lag": 0})
        found: dict[str, Any] = {"members": rows}
        if self.paused:
            found["pause"] = True
        return {**found, "scheduled_switchover": self.scheduled} if self.scheduled else found

    def status(self, name: str) -> Response:
        """GET /patroni."""
        leads = name == self.leader
        found: dict[str, Any] = {
            "state": self.states[name], "postmaster_start_time": self.started,
            "role": "master" if leads else "replica", "server_version": 150014, "timeline": self.timeline,
            "xlog": {"location": 1}, "dcs_last_seen": 1795813200, "database_system_identifier": "7500000000000000000",
            "patroni": {"version": "3.0.2", "scope": "orders"},
        }  # fmt: skip
        if self.paused:
            found["pause"] = True
        return (200 if self.states[name] == "running" else 503), found

    def answer(self, name: str, method: str, path: str, body: Any) -> Response | None:
        """What a node answers; None for nothing at all."""
        self.asked.append((name, method, path, body))
        if path in self.orders:
            return self.orders[path](body)
        if (method, path) == ("GET", "/cluster"):
            return 200, self.cluster()
        if (method, path) == ("GET", "/patroni"):
            return self.status(name)
        if (method, path) == ("GET", "/config"):
            return 200, self.config
        if (method, path) == ("PATCH", "/config"):
            self.paused = bool(body["pause"]) if "pause" in body else self.paused
            self.config.update(body)
            return 200, self.config
        if (method, path) == ("POST", "/switchover"):
            return self.switch(body)
        return 404, ""


@contextmanager
def serving() -> Iterator[Nodes]:
    """Both nodes, each with a port of its own."""
    nodes = Nodes()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(nodes, name)) for name in nodes.states]
    nodes.urls = {name: f"http://127.0.0.1:{one.server_port}" for name, one in zip(nodes.states, servers)}
    threads = [threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True) for one in servers]
    try:
        for thread in threads:
            thread.start()
        yield nodes
    finally:
        for one in servers:
            one.shutdown()
            one.server_close()


def _handler(nodes: Nodes, name: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One node."""

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            nodes.logins.append(f"{self.command} {self.headers.get('Authorization') or ''}".strip())
            found = nodes.answer(name, self.command, self.path, body)
            if found is None:
                self.close_connection = True
                return
            status, content = found
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PATCH = _do

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    return Handler
