# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and keys as PEM texts: what they say of themselves, and whether they go together. By openssl."""

from __future__ import annotations

import hashlib
import re
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run, tail

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


@dataclass(frozen=True)
class Certificate:
    """One certificate. Times are seconds since 1970; the fingerprint is the SHA-256 of its DER form."""

    fingerprint: str
    subject: str
    not_before: float
    not_after: float
    public_key: str

    def told(self) -> str:
        """For a person."""
        until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.not_after))
        return f"{self.subject}, valid until {until}, SHA-256 {self.fingerprint}"


def certificates_in(text: str) -> list[str]:
    """The certificates of a PEM text, each by itself, in their order."""
    return [found.group() for found in _CERTIFICATE.finditer(text)]


def keys_in(text: str) -> list[str]:
    """The private keys of a PEM text."""
    return [found.group() for found in _KEY.finditer(text)]


def fingerprint_of(der: bytes) -> str:
    """The name of a certificate."""
    return hashlib.sha256(der).hexdigest()


def read(pem: str) -> Certificate:
    """What the first certificate of a text says. Raises OpsError where there is none that can be read."""
    first = (certificates_in(pem) or [""])[0]
    done = run(["openssl", "x509", "-noout", "-subject", "-dates", "-pubkey", "-nameopt", "RFC2253"], stdin=first,
               check=False)  # fmt: skip
    if done.returncode != 0:
        raise OpsError("it holds no certificate that openssl can read")
    fields = dict(line.split("=", 1) for line in done.stdout.splitlines() if re.match(r"(subject|not\w+)=", line))
    return Certificate(
        fingerprint=fingerprint_of(ssl.PEM_cert_to_DER_cert(first)),
        subject=fields["subject"].strip(),
        not_before=ssl.cert_time_to_seconds(fields["notBefore"]),
        not_after=ssl.cert_time_to_seconds(fields["notAfter"]),
        public_key=done.stdout[done.stdout.index("-----BEGIN PUBLIC KEY") :].strip(),
    )


def public_key_of(key: str) -> str:
    """The public half of a private key, which is read from standard input. Raises OpsError without telling the key."""
    # An empty passphrase: openssl must not ask a terminal for one.
    done = run(["openssl", "pkey", "-pubout", "-passin", "pass:"], stdin=key, check=False)
    if done.returncode != 0:
        locked = "ENCRYPTED" in key
        raise OpsError("it is encrypted, and the server can't ask for its passphrase" if locked else "it can't be read")
    return done.stdout.strip()


def verify(chain: str, authorities: str, purpose: str = "sslserver") -> str:
    """What speaks against a certificate for a purpose by these authorities; empty where it is theirs."""
    server, *between = certificates_in(chain)
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder, name) for name in ("authorities", "between", "server")]
        for place, text in zip(places, (authorities, "\n".join(between), server)):
            place.write_text(text)
        argv = ["openssl", "verify", "-purpose", purpose, "-CAfile", str(places[0])]
        done = run([*argv, *(["-untrusted", str(places[1])] if between else []), str(places[2])], check=False)
    return "" if done.returncode == 0 else tail(done.stderr, 2) or "no reason given"


def reasons_against(
    chain: str, key: str, authorities: str, purposes: Sequence[str] = ("sslserver",)
) -> Iterator[tuple[str, str]]:
    """Everything that keeps a server, or a client, from using these, each with its remedy."""
    try:
        certificate = read(chain)
    except OpsError as exc:
        yield f"the certificate: {exc}", "give a PEM file, the server's certificate first"
        return
    now = time.time()
    if certificate.not_after <= now:
        yield f"the certificate has expired ({certificate.told()})", "renew it"
    if certificate.not_before > now:
        yield f"the certificate is not valid yet ({certificate.told()})", "mind the clocks"
    try:
        if len(keys_in(key)) != 1:
            raise OpsError(f"{len(keys_in(key))} private keys are in it")
        if public_key_of(keys_in(key)[0]) != certificate.public_key:
            yield f"the key is not that of the certificate ({certificate.subject})", "give the two that belong together"
    except OpsError as exc:
        yield f"the key: {exc}", "give one PEM key without a passphrase"
    if authorities and certificate.not_before <= now < certificate.not_after:
        against = "it holds no certificate"
        for purpose in purposes if certificates_in(authorities) else ():
            against = verify(chain, authorities, purpose)
            if against:
                break
        if against:
            yield f"the CA does not stand for the certificate: {against}", "give the CA's, and what lies between them"


def reasons_against_name(chain: str, name: str) -> Iterator[tuple[str, str]]:
    """What keeps it from being known by `name`, to which others connect, and by which it is let in as a client."""
    try:
        certificate = read(chain)
    except OpsError:
        return
    found = re.search(r"(?:^|,)CN=((?:\\.|[^,\\])*)", certificate.subject)
    common = found.group(1) if found else ""
    if common != name:
        yield f"the certificate is of CN {common or '(none)'}, not of {name}", f"have it issued with the CN {name}"
    done = run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], stdin=certificates_in(chain)[0], check=False)
    others = re.findall(r"DNS:([^\s,]+)", done.stdout)
    # Where there are such names, the CN is not looked at.
    if others and not any(_covers(other, name) for other in others):
        yield f"the certificate is for {', '.join(others)}, not for {name}", f"have it issued for DNS:{name}"


def _covers(pattern: str, name: str) -> bool:
    """Whether a name of a certificate stands for this one: itself, or one more label in place of an asterisk."""
    if pattern.startswith("*."):
        return pattern[2:].lower() == name.lower().partition(".")[2]
    return pattern.lower() == name.lower()
