# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of this process that take messages, and remember what they were given."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Hook:
    """An HTTP server. `answer` is a status, or `hang` or `drip`."""

    answer: Any = 200
    taken: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        hook, self.over = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.taken.append((self.path, dict(self.headers), body))
                if hook.answer in ("hang", "drip"):
                    while not hook.over.wait(0.1):
                        if hook.answer == "drip":
                            self.wfile.write(b"H")
                    return
                self.send_response(hook.answer)
                if 300 <= hook.answer < 400:
                    self.send_header("Location", f"http://127.0.0.1:{hook.port}/elsewhere")
                self.end_headers()

            def log_message(self, *_words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "tls.pem", folder / "tls.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class Post:
    """A mail server: STARTTLS or TLS from the start, one account, and addresses that it refuses."""

    def __init__(self, folder: Path, implicit: bool = False, refused: tuple[str, ...] = ()) -> None:
        self.certificate, key = certificate(folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)
        self.implicit, self.refused = implicit, refused
        self.account, self.logins, self.mails = "db:s3cret", [], []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self.socket.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _address = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._guard, args=(peer,), daemon=True).start()

    def _guard(self, peer: socket.socket) -> None:
        try:
            self._talk(self.context.wrap_socket(peer, server_side=True) if self.implicit else peer)
        except (OSError, ValueError):
            pass
        finally:
            peer.close()

    def _talk(self, peer: socket.socket) -> None:
        secure = self.implicit
        lines = peer.makefile("rb")

        def say(text: str) -> None:
            peer.sendall(f"{text}\r\n".encode())

        say("220 here")
        while line := lines.readline():
            verb, _space, rest = line.decode().strip().partition(" ")
            verb = verb.upper()
            if verb == "EHLO":
                say("250-here\r\n250 AUTH PLAIN" if secure else "250-here\r\n250 STARTTLS")
            elif verb == "STARTTLS":
                say("220 go")
                peer = self.context.wrap_socket(peer, server_side=True)
                lines, secure = peer.makefile("rb"), True
            elif verb == "AUTH":
                given = base64.b64decode(rest.split()[1]).decode().strip("\0").replace("\0", ":")
                self.logins.append((given, secure))
                say("235 welcome" if given == self.account else f"535 {given} is not known here")
            elif verb == "RCPT":
                say("550 nobody" if any(name in rest for name in self.refused) else "250 fine")
            elif verb == "DATA":
                say("354 go")
                mail = b""
                while (part := lines.readline()) not in (b".\r\n", b""):
                    mail += part
                self.mails.append(mail.decode())
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")
