"""A time stamp authority and a mail server of the test's own, on the loopback."""

from __future__ import annotations

import socketserver
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIG = """
[tsa]
default_tsa = here
[here]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
certs = root.pem
ess_cert_id_alg = sha256
"""
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(home: Path, *words: str) -> bytes:
    done = subprocess.run(["openssl", *words], cwd=home, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """Stamps what it is asked to, unless `answer` says otherwise."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home, self.asked = home, 0
        self.answer: Callable[[bytes], bytes] | None = None
        (home / "tsa.conf").write_text(CONFIG)
        (home / "extensions").write_text("extendedKeyUsage=critical,timeStamping\n")
        openssl(home, "req", "-x509", *CURVE, "-days", "2", "-subj", "/CN=root", "-keyout", "root.key",
                "-out", "root.pem")
        openssl(home, "req", *CURVE, "-subj", "/CN=tsa", "-keyout", "tsa.key", "-out", "tsa.csr")
        openssl(home, "x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
                "-days", "2", "-extfile", "extensions", "-out", "tsa.pem")
        self.root = home / "root.pem"

    def stamp(self, query: bytes) -> bytes:
        self.asked += 1
        if self.answer:
            return self.answer(query)
        (self.home / "query").write_bytes(query)
        openssl(self.home, "ts", "-reply", "-config", "tsa.conf", "-queryfile", "query", "-out", "reply")
        return (self.home / "reply").read_bytes()

    def serve(self) -> HTTPServer:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/timestamp-query"
                reply = authority.stamp(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_arguments: object) -> None:
                """Nothing is printed."""

        return running(HTTPServer(("127.0.0.1", 0), Handler))


class MailServer(socketserver.TCPServer):
    """Takes every mail but those to `refused`."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.mails: list[bytes] = []
        self.refused = ""


class _Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            word = line.strip().upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                for part in self.rfile:
                    if part == b".\r\n":
                        break
                    text += part
                self.server.mails.append(text)
            if word.startswith(b"RCPT") and self.server.refused and self.server.refused.upper().encode() in word:
                self.wfile.write(b"550 nobody here\r\n")
                continue
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 yes\r\n")
            if word == b"QUIT":
                return


def running(server):
    """In a thread that ends with `server.shutdown()`."""
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
