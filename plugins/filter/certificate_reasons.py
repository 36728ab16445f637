# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host can't be known by a certificate: judged on the controller, before anything is brought to a host."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.boringdb.ops.plugins.module_utils._core import certificate as pem
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError

DOCUMENTATION = r"""
name: certificate_reasons
short_description: What speaks against a certificate and its key for a host that is server and client
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Returns every reason at once, each with its remedy, and an empty list where there is none.
  - The certificate must be of the CA, valid now, and the key's; its CN must be O(name), and so must one of the names of
    its subject alternative name, where it has any. Where the CA limits its use, it must be good for a server and for a
    client.
  - The programs read the key from standard input, and no reason holds any of it. It needs openssl on the controller.
options:
  _input:
    description: The certificate in PEM form, those between it and the CA behind it.
    type: str
    required: true
  key:
    description: Its key in PEM form, without a passphrase.
    type: str
    required: true
  ca:
    description: The CA's certificate in PEM form.
    type: str
    required: true
  name:
    description: The name by which the other hosts know this one.
    type: str
    required: true
  serves:
    description: Whether others connect to this host.
    type: bool
    default: true
positional: key, ca, name, serves
"""

EXAMPLES = r"""
- name: Refuse a certificate that the other hosts will not take
  vars:
    reasons: >-
      {{ lookup('ansible.builtin.file', 'pki/vault.crt')
         | boringdb.ops.certificate_reasons(lookup('ansible.builtin.file', 'pki/vault.key'),
                                            lookup('ansible.builtin.file', 'pki/ca.crt'), 'vault') }}
  ansible.builtin.assert:
    that: reasons | length == 0
    fail_msg: "{{ reasons | join('; ') }}"
"""

RETURN = r"""
_value:
  description: The reasons.
  type: list
  elements: str
"""


def certificate_reasons(certificate: str, key: str, ca: str, name: str, serves: bool = True) -> list[str]:
    """What speaks against it, for a host that connects, and where it `serves` is connected to."""
    purposes = ("sslserver", "sslclient") if serves else ("sslclient",)
    try:
        found = [
            *pem.reasons_against(certificate, key, ca or "\n", purposes),
            *pem.reasons_against_name(certificate, name),
        ]
    except OpsError as exc:
        raise AnsibleFilterError(f"the certificate of {name} can't be judged: {exc}") from exc
    return [f"{what} ({remedy})" for what, remedy in found]


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Every filter by its name."""
        return {"certificate_reasons": certificate_reasons}
