# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what at pgBackRest's server: one stanza's clients among those of the others that share the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

DOCUMENTATION = r"""
name: server_auth
short_description: The values of pgBackRest's C(tls-server-auth) with the clients of one stanza replaced
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - pgBackRest takes each client once, with all its stanzas behind it; of a client that is named twice the last line
    wins. Clusters that share a repository's host therefore share these lines.
  - Clients of other stanzas stay as they are. One that is no longer named for this stanza loses it.
options:
  _input:
    description: The values that are there, as C(CLIENT=STANZA,STANZA).
    type: list
    elements: str
    required: true
  stanza:
    description: The stanza.
    type: str
    required: true
  clients:
    description: The common names of its clients' certificates.
    type: list
    elements: str
    required: true
positional: stanza, clients
"""

EXAMPLES = r"""
- name: Show what becomes of it
  ansible.builtin.debug:
    # ['db1=orders', 'db2=orders', 'proof=billing,orders']
    msg: "{{ ['db1=orders', 'proof=billing'] | boringdb.ops.server_auth('orders', ['db1', 'db2', 'proof']) }}"
"""

RETURN = r"""
_value:
  description: The values, sorted.
  type: list
  elements: str
"""


def server_auth(values: Sequence[str], stanza: str, clients: Sequence[str]) -> list[str]:
    """Each client once, with the stanzas that it has and this one where it is named."""
    stanzas: dict[str, set[str]] = {}
    for value in values:
        client, _equals, names = value.partition("=")
        stanzas[client.strip()] = {name.strip() for name in names.split(",")} - {stanza, ""}
    for client in clients:
        stanzas.setdefault(client, set()).add(stanza)
    return [f"{client}={','.join(sorted(names))}" for client, names in sorted(stanzas.items()) if names]


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Every filter by its name."""
        return {"server_auth": server_auth}
