# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An S3 store over TLS: moto's, with real keys. One key may write, another only read; any other is refused.

usage: python -m tests.lab.s3.store ADDRESS PORT CERTIFICATE KEY

moto checks no signature and no region. Buckets are reached by path only. `lock` adds what it leaves out of Object Lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tests.lab.s3 import lock

ENDPOINT = "controller"
WRITER, READER = "AKIAWRITER0000000001", "AKIAREADER0000000001"
SECRETS = {WRITER: "the-writer's-secret+of/forty-characters0", READER: "the-reader's-secret+of/forty-characters0"}
_DENIED = b'<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>%s</Message></Error>'


def _refusal(environ: dict[str, Any]) -> bytes:
    """The store's answer to a key that may not do this, empty where it may."""
    found = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    key = found.group(1) if found else ""
    if key not in SECRETS:
        return _DENIED % (b"InvalidAccessKeyId", b"The access key does not exist.")
    if key == READER and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return _DENIED % (b"AccessDenied", b"Access Denied")
    return b""


def _application() -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    os.environ["S3_IGNORE_SUBDOMAIN_BUCKETNAME"] = "true"
    from moto.server import DomainDispatcherApplication, create_backend_app

    lock.as_s3_does()
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        denied = _refusal(environ)
        if denied:
            start("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(denied)))])
            return [denied]
        if lock.asked(environ):
            return lock.answer(environ, start)
        return moto(environ, start)  # type: ignore[no-any-return]

    return application


def main() -> None:
    """Serve until killed."""
    from werkzeug.serving import WSGIRequestHandler, run_simple

    class Handler(WSGIRequestHandler):  # type: ignore[misc]
        """Ends a connection as TLS asks for, which pgBackRest insists on and Werkzeug leaves out."""

        protocol_version = "HTTP/1.1"

        def finish(self) -> None:
            super().finish()
            with contextlib.suppress(OSError, ValueError):
                self.connection.settimeout(2)
                self.connection.unwrap()

    address, port, certificate, key = sys.argv[1:]
    run_simple(
        address, int(port), _application(), threaded=True, ssl_context=(certificate, key), request_handler=Handler
    )


if __name__ == "__main__":
    main()
