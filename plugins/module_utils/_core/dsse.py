# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DSSE envelopes: what is signed, and how it is written down.

The envelope (https://github.com/secure-systems-lab/dsse) is a small JSON file with the payload in base64 and
its signatures. What is signed is not the payload alone but the *pre-authentication encoding* of its type and
its bytes, so that a signature can never be taken for one over another kind of document.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class EnvelopeError(ValueError):
    """The bytes are not an envelope; the message says in one line what is wrong with them."""


@dataclass(frozen=True)
class Signature:
    """One signature: ``keyid`` is a hint that nothing protects, ``sig`` the raw signature."""

    keyid: str
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """A parsed envelope: the payload's type, its raw bytes and the signatures."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def signed_bytes(self) -> bytes:
        """The bytes every signature is over."""
        return pae(self.payload_type, self.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: ``DSSEv1 <len> <type> <len> <payload>``, lengths in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, keyid: str, sign: Callable[[bytes], bytes], payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The bytes of an envelope file over ``payload``, signed by ``sign``.

    :param sign: takes the bytes to sign, gives the raw signature
    """
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(sign(pae(payload_type, payload))).decode()}],
    }
    return (json.dumps(envelope, indent=1, sort_keys=True) + "\n").encode()


def parse_envelope(data: bytes) -> Envelope:
    """Reads an envelope file.

    :raises EnvelopeError: for anything that is not one
    """
    document = parse_json(data, "the file")
    if not isinstance(document, dict):
        raise EnvelopeError("the file is not a JSON object")
    payload_type, signatures = document.get("payloadType"), document.get("signatures")
    if not isinstance(payload_type, str):
        raise EnvelopeError("the envelope has no payloadType")
    if not isinstance(signatures, list) or not signatures:
        raise EnvelopeError("the envelope has no signatures")
    return Envelope(
        payload_type=payload_type,
        payload=_base64(document.get("payload"), "payload"),
        signatures=tuple(_signature(item) for item in signatures),
    )


def parse_json(data: bytes, what: str) -> Any:
    """Parses JSON and refuses repeated keys, which two parsers may read in two ways.

    :raises EnvelopeError: when ``data`` is not such JSON
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise EnvelopeError(f"{what} is not valid JSON ({error})") from error


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise EnvelopeError("a key appears twice in one object")
    return result


def _no_constant(name: str) -> None:
    raise EnvelopeError(f"{name} is not a JSON number")


def _signature(item: Any) -> Signature:
    if not isinstance(item, dict):
        raise EnvelopeError("a signature is not a JSON object")
    keyid = item.get("keyid", "")
    if not isinstance(keyid, str):
        raise EnvelopeError("a signature's keyid is not a string")
    return Signature(keyid, _base64(item.get("sig"), "sig"))


def _base64(value: Any, what: str) -> bytes:
    if not isinstance(value, str):
        raise EnvelopeError(f"the envelope has no {what}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeError(f"the envelope's {what} is not base64 ({error})") from error
