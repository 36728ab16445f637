# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a playbook is for: the members of the one cluster it was given, or a refusal in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: members
short_description: The members of a cluster, a group of the inventory
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Returns the hosts of the group that is named, for the C(hosts) of a play.
  - Refuses, in one line, a name that is missing, no group, a group without hosts, or one of the groups C(all) and
    C(ungrouped), which every inventory has and which are no cluster.
options:
  _input:
    description: The inventory's groups, as the variable C(groups) holds them.
    type: dict
    required: true
  cluster:
    description: The name of the group.
    type: str
    required: true
positional: cluster
"""

EXAMPLES = r"""
- name: Discover who is primary
  hosts: "{{ groups | boringdb.ops.members(cluster | default('')) }}"
  roles:
    - boringdb.ops.instance_info
"""

RETURN = r"""
_value:
  description: The names of the hosts.
  type: list
  elements: str
"""


def members(groups: Mapping[str, Sequence[str]], cluster: str) -> list[str]:
    """The hosts of a cluster's group."""
    if cluster in ("all", "ungrouped"):
        raise AnsibleFilterError(
            f"refused: {cluster} is a group that Ansible makes itself, no cluster (name the group of one cluster)"
        )
    if not groups.get(cluster):
        raise AnsibleFilterError(
            f"refused: {cluster or 'nothing'} is no group of the inventory that holds hosts "
            "(name the cluster: -e cluster=orders)"
        )
    return list(groups[cluster])


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Every filter by its name."""
        return {"members": members}
