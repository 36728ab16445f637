# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways by which a message leaves the controller. Each sends one message or raises Undelivered with one line.

Secrets are read from files that only their owner may read. No error names a webhook's path, which is its secret.
"""

from __future__ import annotations

import contextlib
import json
import signal
import smtplib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPException
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight, as_line

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHOWN = 200  # characters of what a server answered

Channel = Mapping[str, Any]


class Undelivered(OpsError):
    """A message did not arrive."""


@dataclass(frozen=True)
class Message:
    """What is told: a line, the same at length, and as data for programs."""

    subject: str
    text: str
    document: dict[str, Any]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What a message carries is for the address that was named, and for no other."""

    def redirect_request(self, *_words: Any, **_options: Any) -> None:
        """None has the redirection end as the error that it is."""
        return


def address_of(channel: Channel) -> str:
    """Where a webhook is: it may lie in a file, as it often is a secret."""
    return secret(channel["url_file"]) if channel["url_file"] else str(channel["url"] or "")


def secret(path: str) -> str:
    """The one line of a secret's file."""
    return Path(path).read_text(encoding="utf-8").strip()


def examine(channels: list[Channel], flight: Preflight) -> None:
    """Everything that can be known to be wrong before the first message."""
    names = [channel["name"] for channel in channels]
    for name in sorted({name for name in names if names.count(name) > 1}):
        flight.refuse(f"two channels are {name}", "give each a name of its own")
    for channel in channels:
        for option in ("url_file", "token_file", "password_file", "ca_file"):
            path = channel[option]
            flight.require(
                not path or Path(path).is_absolute(),
                f"{channel['name']}: {option} {path} is relative",
                "give the whole path",
            )
        (_examine_mail if channel["kind"] == "mail" else _examine_webhook)(channel, flight)


def _examine_secret(channel: Channel, option: str, flight: Preflight) -> bool:
    path = Path(channel[option])
    what = f"{channel['name']}: {option} {path}"
    try:
        mode = path.stat().st_mode
        content = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return flight.require(
            False,
            f"{what} can't be read ({getattr(error, 'strerror', None) or 'not text'})",
            "correct the path, the owner or the mode",
        )
    return flight.require(not mode & 0o077, f"{what} can be read by others", f"chmod 600 {path}") and flight.require(
        bool(content) and "\n" not in content,
        f"{what} does not hold one line",
        "put the secret into it, and nothing else",
    )


def _examine_webhook(channel: Channel, flight: Preflight) -> None:
    name = channel["name"]
    if not flight.require(
        bool(channel["url"]) != bool(channel["url_file"]),
        f"{name}: not one of url and url_file is given",
        "give one of them",
    ):
        return
    files = [_examine_secret(channel, option, flight) for option in ("url_file", "token_file") if channel[option]]
    _examine_ca(channel, flight)
    if not all(files):
        return
    try:
        parts = urllib.parse.urlsplit(address_of(channel))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if flight.require(good, f"{name}: the address is none", "give https://HOST/PATH"):
        flight.require(parts.username is None, f"{name}: the address holds an account", "put it into token_file")
        flight.require(
            parts.scheme == "https" or parts.hostname in LOOPBACK or not (channel["url_file"] or channel["token_file"]),
            f"{name}: a secret would go over the network in plain text",
            "use https",
        )


def _examine_mail(channel: Channel, flight: Preflight) -> None:
    name = channel["name"]
    for option in ("host", "sender", "to"):
        flight.require(bool(channel[option]), f"{name}: {option} is not given", "give it")
    for address in [channel["sender"] or "", *(channel["to"] or [])]:
        flight.require(
            not set(address) & set("\r\n,"), f"{name}: {as_line(address)} is no address", "give one address an item"
        )
    _examine_ca(channel, flight)
    if (
        flight.require(
            bool(channel["user"]) == bool(channel["password_file"]),
            f"{name}: one of user and password_file is missing",
            "give both or none",
        )
        and channel["password_file"]
    ):
        _examine_secret(channel, "password_file", flight)
        flight.require(
            channel["tls"] != "none",
            f"{name}: a password would go over the network in plain text",
            "use tls starttls or implicit",
        )


def _examine_ca(channel: Channel, flight: Preflight) -> None:
    if channel["ca_file"]:
        try:
            _tls(channel)
        except (OSError, ValueError):
            flight.refuse(f"{channel['name']}: ca_file {channel['ca_file']} holds no certificate", "correct the path")


def _tls(channel: Channel) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=channel["ca_file"] or None)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """An end for what has only time-outs of its parts: a server that answers a byte a minute holds nobody up."""

    def late(_number: int, _frame: Any) -> None:
        raise TimeoutError(f"no answer in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def send_webhook(channel: Channel, message: Message) -> None:
    """POST the document as JSON; any answer but 2xx is a failure."""
    _post(channel, message.document)


def send_slack(channel: Channel, message: Message) -> None:
    """POST what Slack's incoming webhooks, and those who copy them, take."""
    text = message.text
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, written)
    _post(channel, {"text": text})


def _post(channel: Channel, document: dict[str, Any]) -> None:
    url = address_of(channel)
    host = urllib.parse.urlsplit(url).hostname or ""
    headers = {"Content-Type": "application/json", "User-Agent": "boringdb.ops"}
    if channel["token_file"]:
        headers["Authorization"] = f"Bearer {secret(channel['token_file'])}"
    request = urllib.request.Request(url, json.dumps(document).encode(), headers, method="POST")  # noqa: S310 - examined
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=_tls(channel)))
    try:
        with deadline(channel["timeout"]), opener.open(request, timeout=channel["timeout"]) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        with error:
            raise Undelivered(f"{channel['name']}: {host} answered {error.code}") from None
    except urllib.error.URLError as error:
        raise Undelivered(f"{channel['name']}: {host}: {_short(error.reason)}") from None
    except (OSError, HTTPException, ValueError) as error:
        # Whatever they say may hold the address.
        why = str(error) if isinstance(error, TimeoutError) and str(error) else type(error).__name__
        raise Undelivered(f"{channel['name']}: {host}: {_short(why)}") from None


def send_mail(channel: Channel, message: Message) -> None:
    """One mail to everybody; it counts only where every address was taken."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = channel["sender"], ", ".join(channel["to"]), as_line(message.subject)
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="boringdb.ops")
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    port = channel["port"] or {"starttls": 587, "implicit": 465, "none": 25}[channel["tls"]]
    password = secret(channel["password_file"]) if channel["password_file"] else ""
    try:
        with deadline(channel["timeout"]):
            refused = _converse(channel, port, password, mail)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        said = _short(error)
        if password:
            said = said.replace(password, "[redacted]")
        raise Undelivered(f"{channel['name']}: {channel['host']}:{port}: {said or type(error).__name__}") from None
    if refused:
        raise Undelivered(f"{channel['name']}: {channel['host']}:{port} refused {', '.join(sorted(refused))}")


def _converse(channel: Channel, port: int, password: str, mail: EmailMessage) -> Mapping[str, Any]:
    host, timeout = channel["host"], channel["timeout"]
    if channel["tls"] == "implicit":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=timeout, context=_tls(channel))
    else:
        server = smtplib.SMTP(host, port, timeout=timeout)
    try:
        if channel["tls"] == "starttls":
            server.starttls(context=_tls(channel))
        if password:
            server.login(channel["user"], password)
        refused = server.send_message(mail)
        # It is taken: how the server says goodbye changes nothing.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            server.quit()
        return refused
    finally:
        server.close()


def _short(words: object) -> str:
    return as_line(words)[:SHOWN]


SENDERS: dict[str, Callable[[Channel, Message], None]] = {
    "webhook": send_webhook, "slack": send_slack, "mail": send_mail,
}  # fmt: skip
