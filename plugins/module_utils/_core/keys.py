# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ed25519 keys that sign and verify evidence. Controller only: needs the ``cryptography`` library."""

from __future__ import annotations

import hashlib
import os
import secrets
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError:
    MISSING_CRYPTOGRAPHY: str | None = traceback.format_exc()
else:
    MISSING_CRYPTOGRAPHY = None


class EvidenceError(OpsError):
    """Something the person who runs this can put right: one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class PrivateKey:
    """A loaded signing key."""

    key: Ed25519PrivateKey

    @property
    def keyid(self) -> str:
        """See :func:`keyid_of`."""
        return keyid_of(self.key.public_key())

    def sign(self, data: bytes) -> bytes:
        """The raw 64-byte signature over ``data``."""
        return self.key.sign(data)

    def public_pem(self) -> bytes:
        """The public half as a PEM file's bytes."""
        return _public_pem(self.key.public_key())


# Key id -> key. What is in here is trusted; nothing gets in here from the ledger by itself.
TrustedKeys = Mapping[str, "Ed25519PublicKey"]


def keyid_of(public: Ed25519PublicKey) -> str:
    """SHA-256 of the key in DER: ``openssl pkey -pubin -in KEY.pem -outform DER | sha256sum``."""
    return hashlib.sha256(
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def verifies(public: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` over ``data`` was made by ``public``'s private half."""
    try:
        public.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def load_private(path: Path, passphrase: str | None = None) -> PrivateKey:
    """Loads a PKCS#8 PEM key.

    :raises EvidenceError: when it is missing, readable by others, not ed25519, or the passphrase is wrong
    """
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise EvidenceError(
            f"signing key {path} does not exist: create one with state=keypair, or correct the path"
        ) from error
    except OSError as error:
        raise EvidenceError(f"signing key {path} cannot be read ({error.strerror}): run as its owner") from error
    if mode & 0o077:
        raise EvidenceError(
            f"signing key {path} has mode {mode & 0o777:04o} and is open to group or others: "
            f"run chmod 0600 {path}, and replace the key if others may have read it"
        )
    try:
        key = serialization.load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except TypeError as error:
        raise EvidenceError(
            f"signing key {path} "
            + ("has no passphrase: leave the passphrase out" if passphrase else "is encrypted: give its passphrase")
        ) from error
    except ValueError as error:
        raise EvidenceError(
            f"signing key {path} cannot be loaded: "
            + ("check the passphrase" if passphrase else "it must be a PKCS#8 PEM file with an ed25519 key")
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise EvidenceError(f"signing key {path} is not ed25519: create one with state=keypair")
    return PrivateKey(key)


def load_public(path: Path) -> Ed25519PublicKey:
    """Loads a public key in PEM.

    :raises EvidenceError: when it is missing or not an ed25519 public key
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise EvidenceError(f"public key {path} cannot be read ({error.strerror}): correct the path") from error
    except ValueError as error:
        raise EvidenceError(
            f"public key {path} is not a PEM public key: write it with "
            f"openssl pkey -in PRIVATE.pem -pubout -out {path}"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError(f"public key {path} is not ed25519: give the key that signs this ledger")
    return key


def load_trusted(paths: Iterable[Path]) -> dict[str, Ed25519PublicKey]:
    """The trusted keys by their id.

    :raises EvidenceError: see :func:`load_public`; also when there are none
    """
    keys = {keyid_of(key): key for key in map(load_public, paths)}
    if not keys:
        raise EvidenceError("no trusted public key was given: name at least one, kept outside the ledger")
    return keys


def ensure_keypair(private: Path, public: Path, passphrase: str | None, dry_run: bool = False) -> tuple[str, list[str]]:
    """Makes sure that a private key and its public half exist. Never replaces either.

    :returns: the key id (empty when a dry run would create the key) and the paths that were, or would be, created
    :raises EvidenceError: when what exists cannot be used, or the two do not belong together
    """
    created: list[str] = []
    if os.path.lexists(private):
        key = load_private(private, passphrase)
    elif os.path.lexists(public):
        raise EvidenceError(
            f"public key {public} exists but its private key {private} does not: restore the private key, "
            "or name another path for the new pair"
        )
    else:
        created.append(str(private))
        if dry_run:
            return "", [*created, str(public)]
        key = PrivateKey(Ed25519PrivateKey.generate())
        _create(private, _private_pem(key.key, passphrase), 0o600)
    if os.path.lexists(public):
        if keyid_of(load_public(public)) != key.keyid:
            raise EvidenceError(
                f"public key {public} does not belong to {private}: name another path, or move the file away"
            )
    else:
        created.append(str(public))
        if not dry_run:
            _create(public, key.public_pem(), 0o644)
    return key.keyid, created


def _private_pem(key: Ed25519PrivateKey, passphrase: str | None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _public_pem(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _create(path: Path, data: bytes, mode: int) -> None:
    """Writes a whole new file or none. link() refuses to replace: of two at once, one gets the error."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, path)
    except FileExistsError as error:
        raise EvidenceError(f"{path} was created by another run just now: run again to use it") from error
    except OSError as error:
        raise EvidenceError(f"{path} cannot be written ({error.strerror}): check its folder's mode") from error
    finally:
        temporary.unlink(missing_ok=True)
