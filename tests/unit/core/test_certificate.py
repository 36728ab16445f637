# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a server from using a certificate, a key and a CA: judged on real ones, which openssl made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import certificate as pem


def openssl(*words: str) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PEM texts by name: a CA, one between it and the server's, a server's, one that has expired, and keys."""
    home = tmp_path_factory.mktemp("pki")
    (home / "ca").write_text("basicConstraints=critical,CA:true\n")
    (home / "server").write_text("extendedKeyUsage=serverAuth\n")
    for name, issuer, kind, days in (
        ("root", "", "ca", "9"), ("between", "root", "ca", "9"), ("own", "between", "server", "9"),
        ("old", "root", "server", "0"), ("stranger", "", "ca", "9"),
    ):  # fmt: skip
        key, request, certificate = (str(home / f"{name}.{end}") for end in ("key", "csr", "crt"))
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        signer = ["-CA", str(home / f"{issuer}.crt"), "-CAkey", str(home / f"{issuer}.key"), "-CAcreateserial"]
        openssl("x509", "-req", "-in", request, "-days", days, "-out", certificate, "-extfile", str(home / kind),
                *(signer if issuer else ["-signkey", key]))  # fmt: skip
    openssl("pkey", "-in", str(home / "own.key"), "-aes128", "-passout", "pass:x", "-out", str(home / "locked.key"))
    return {path.name: path.read_text() for path in Path(home).iterdir() if path.suffix in {".crt", ".key"}}


def reasons(made: dict[str, str], chain: str, key: str, authorities: str) -> list[str]:
    """What is said against them; names that are none stand for themselves."""
    texts = ["\n".join(made.get(name, name) for name in names.split("+")) for names in (chain, key, authorities)]
    found = list(pem.reasons_against(*texts))
    assert all(remedy for _what, remedy in found)
    return [what for what, _remedy in found]


@pytest.mark.parametrize(
    ("chain", "key", "authorities"),
    [
        ("own.crt+between.crt", "own.key", "root.crt"),
        ("own.crt", "own.key", "stranger.crt+root.crt+between.crt"),
        ("own.crt", "own.key", ""),
        ("own.key+own.crt+between.crt", "own.key+own.crt", "root.crt"),
    ],
)
def test_what_goes_together_is_taken(made: dict[str, str], chain: str, key: str, authorities: str) -> None:
    assert reasons(made, chain, key, authorities) == []


@pytest.mark.parametrize(
    ("chain", "key", "authorities", "pieces"),
    [
        ("own.crt", "root.key", "", ["the key is not that of the certificate (CN=own)"]),
        ("old.crt", "old.key", "root.crt", ["the certificate has expired (CN=old, valid until "]),
        ("old.crt", "own.key", "", ["has expired", "the key is not that of"]),
        ("own.crt", "locked.key", "", ["the key: it is encrypted"]),
        ("own.crt", "nothing", "", ["the key: 0 private keys are in it"]),
        ("own.crt", "own.key+root.key", "", ["the key: 2 private keys are in it"]),
        ("nothing", "own.key", "root.crt", ["the certificate: it holds no certificate"]),
        ("own.crt", "own.key", "root.crt", ["the CA does not stand for the certificate: "]),
        ("own.crt+between.crt", "own.key", "stranger.crt", ["the CA does not stand for the certificate: "]),
        ("own.crt", "own.key", "nothing", ["the CA does not stand for the certificate: it holds no certificate"]),
        ("root.crt+between.crt", "own.key", "root.crt", ["the key is not that of the certificate (CN=root)"]),
    ],
)
def test_what_does_not_is_refused(
    made: dict[str, str], chain: str, key: str, authorities: str, pieces: list[str]
) -> None:
    found = reasons(made, chain, key, authorities)
    assert len(found) == len(pieces)
    assert all(piece in what for piece, what in zip(pieces, found))
    assert not [what for what in found if "PRIVATE KEY" in what]


def test_it_must_be_of_the_name_that_others_know(tmp_path: Path) -> None:
    def issued(common: str, names: str = "") -> str:
        key, certificate = str(tmp_path / "key"), tmp_path / "crt"
        more = ["-addext", f"subjectAltName={names}"] if names else []
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-subj", f"/O=us/CN={common}", "-out", str(certificate), *more)  # fmt: skip
        return certificate.read_text()

    def said(certificate: str, name: str) -> str:
        return "; ".join(what for what, _remedy in pem.reasons_against_name(certificate, name))

    assert said(issued("db1"), "db1") == ""
    assert said(issued("db1.example.com", "DNS:other,DNS:*.example.com"), "db1.example.com") == ""
    assert said(issued("db1"), "db2") == "the certificate is of CN db1, not of db2"
    assert said(issued("db1", "IP:192.0.2.1"), "db1") == ""
    assert said(issued("db1", "DNS:db2"), "db1") == "the certificate is for db2, not for db1"
    assert said(issued("a.b.example.com", "DNS:*.example.com"), "a.b.example.com").startswith("the certificate is for")
    assert said("nothing", "db1") == ""


def test_a_certificate_of_a_server_alone_is_no_client_s(made: dict[str, str]) -> None:
    chain, key = made["own.crt"] + made["between.crt"], made["own.key"]
    found = [what for what, _remedy in pem.reasons_against(chain, key, made["root.crt"], ("sslserver", "sslclient"))]
    assert len(found) == 1 and "purpose" in found[0], found
