# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patroni's REST API: one request, its status and its answer; whatever goes wrong on the way is one line."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError


class Lost(OpsError):
    """No answer came. Whether the request was carried out is not known."""


@dataclass(frozen=True)
class Answer:
    """What came back: JSON where it is some, else the text."""

    status: int
    text: str

    @property
    def good(self) -> bool:
        """Whether the request was accepted."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The answer as an object. Raises OpsError where it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise OpsError(f"the answer is no object: {self.text[:200]!r} (is another service on its port?)")
        return found

    @property
    def words(self) -> str:
        """What it said, for a message."""
        return " ".join(self.text.split())[:300] or f"HTTP {self.status}"


@dataclass(frozen=True)
class Api:
    """Where the API of one node answers, and who asks."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    insecure: bool = False
    service: str = "Patroni"

    def at(self, url: str) -> Api:
        """The API of another node, asked in the same way."""
        return replace(self, url=url.rstrip("/"))

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, seconds: float = 10) -> Answer:
        """Send a request. A refusal is an answer as well; Lost is raised where none came."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)  # noqa: S310 - http or https, by Node
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        # Reading needs no password, and may go to another host.
        if method != "GET" and self.user:
            secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {secret}")
        try:
            # What the environment says of proxies is for others.
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context())
            )
            with opener.open(request, timeout=seconds) as response:
                return Answer(response.status, response.read().decode(errors="replace"))
        except urllib.error.HTTPError as exc:
            return Answer(exc.code, exc.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException) as exc:
            why = getattr(exc, "reason", None) or str(exc) or type(exc).__name__
            raise Lost(f"{self.service} at {self.url} does not answer {method} {path}: {why}") from exc

    def get(self, path: str, seconds: float = 10) -> dict[str, Any]:
        """An object that can be read. Patroni tells by the status what a node is, so that any will do."""
        return self.ask("GET", path, seconds=seconds).json()

    def order(self, method: str, path: str, body: Mapping[str, Any], seconds: float = 10) -> Answer:
        """Have something done. Raises OpsError with Patroni's words where it refuses."""
        answer = self.ask(method, path, body, seconds)
        if answer.status in (401, 403):
            raise OpsError(
                f"{self.service} at {self.url} does not let {self.user or 'anybody without a name'} {method} {path}: "
                f"{answer.words} (see restapi.authentication and restapi.allowlist)"
            )
        if not answer.good:
            raise OpsError(f"{self.service} at {self.url} refuses {method} {path}: {answer.words}")
        return answer

    def _context(self) -> ssl.SSLContext | None:
        if not self.url.startswith("https:"):
            return None
        context = ssl.create_default_context(cafile=self.cafile or None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certfile:
            context.load_cert_chain(self.certfile, self.keyfile or None)
        return context
