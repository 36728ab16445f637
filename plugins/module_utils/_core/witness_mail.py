# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head by mail: who receives it keeps it. Saved mails are read back from a folder."""

from __future__ import annotations

import email
import email.policy
import re
import smtplib
import ssl
from collections.abc import Mapping
from datetime import datetime, timezone
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness_kind import FOLDER, Head, Witness

HEADER = "X-Evidence-Head"
NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99}) (\d{1,8}) ([0-9a-f]{64})")
SIZE_LIMIT = 1 << 20  # bytes; only the beginning of a mail is read
PROVES = "a mail with this head was saved; who sent it, and when, is as sure as the mailbox that kept it"
BODY = """The chain of {cluster} ends with record {sequence}. The SHA-256 of its file is

{sha256}

Keep this mail where whoever runs the ledger can't change it. To compare a ledger with it:

python3 audit_evidence.py LEDGER --key PUBLIC.pem --head {cluster}={sha256}
"""


class Mail:
    """Sends, and remembers beside the chain that it did; that memory proves nothing and is not read as a witness."""

    def __init__(self, options: Mapping[str, Any], root: Path) -> None:
        preflight = Preflight()
        folder = options.get("folder")
        preflight.require(not folder or Path(folder).is_dir(), f"folder of the saved mails is none: {folder}",
                          "correct it, or leave it out")
        preflight.done()
        self.options, self.root, self.folder = options, root, str(folder or "")

    def leave(self, head: Head, check_mode: bool) -> bool:
        """Send the head, unless it was sent."""
        sent = self.root / head.cluster / FOLDER / f"{head.name}.mail"
        receivers = self.options.get("recipients") or []
        preflight = Preflight()
        for name in ("host", "sender"):
            preflight.require(bool(self.options.get(name)), f"{name} of the mail is empty", "name it")
        preflight.require(bool(receivers), "recipients of the mail are empty", "name one at least")
        preflight.done()
        if read_text(sent).splitlines() == sorted(receivers):
            return False
        if not check_mode:
            try:
                self._send(head, receivers)
            except (smtplib.SMTPException, OSError, ValueError) as exc:
                raise OpsError(f"mail by {self.options['host']}:{self._port()} was not sent: {exc}") from exc
            sent.parent.mkdir(exist_ok=True)
            write_atomic(sent, "".join(f"{one}\n" for one in sorted(receivers)), 0o644)
        return True

    def found(self) -> list[Witness]:
        """The heads in the saved mails of the folder, and below it."""
        result = []
        for path in sorted(Path(self.folder).rglob("*")) if self.folder else ():
            if not path.is_file():
                continue
            with path.open("rb") as stream:
                said = email.message_from_bytes(stream.read(SIZE_LIMIT), policy=email.policy.compat32)
            named = NAMED.fullmatch(" ".join(str(said.get(HEADER, "")).split()))
            if named:
                result.append(Witness("mail", named[1], int(named[2]), named[3], str(said.get("Date", "")),
                                      str(path.relative_to(self.folder)), PROVES))
        return result

    def _send(self, head: Head, receivers: list[str]) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"] = self.options["sender"], ", ".join(receivers)
        mail["Subject"] = f"Evidence of {head.cluster}: record {head.sequence}, {head.sha256[:12]}"
        mail["Date"], mail["Message-ID"] = format_datetime(datetime.now(timezone.utc)), make_msgid()
        mail[HEADER] = f"{head.cluster} {head.sequence} {head.sha256}"
        # Not quoted-printable, which would break the digests in two.
        text = BODY.format(cluster=head.cluster, sequence=head.sequence, sha256=head.sha256)
        mail.set_content(text, cte="7bit")
        security = self.options.get("security") or "starttls"
        trust = ssl.create_default_context(cafile=self.options.get("ca_file") or None)
        host, wait = self.options["host"], self.options.get("timeout") or 30
        server = (smtplib.SMTP_SSL(host, self._port(), timeout=wait, context=trust) if security == "tls"
                  else smtplib.SMTP(host, self._port(), timeout=wait))
        with server:
            if security == "starttls":
                server.starttls(context=trust)
            if self.options.get("login_user"):
                server.login(self.options["login_user"], self.options.get("login_password") or "")
            refused = server.send_message(mail)
            if refused:
                raise OpsError(f"{', '.join(sorted(refused))} was refused; the others have it")

    def _port(self) -> int:
        return int(self.options.get("port") or (465 if self.options.get("security") == "tls" else 25))
