#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd
short_description: Tells what a member of etcd is, and how one without data comes in
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - The steps of the role P(boringdb.ops.etcd#role) that no other module does.
  - Whether a member bootstraps a cluster or joins one is read from what all members say, never declared.
extends_documentation_fragment:
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(seen) tells what this host holds, and what its member says.
      - V(planned) tells from what all said how this member is to be started, and refuses where that can't be told.
      - V(joined) has the others let this one in. One that has lost its data is removed before.
      - V(healthy) waits until this member can write, which takes a quorum.
      - V(read) tells what stands at O(key).
    type: str
    choices: [seen, planned, joined, healthy, read]
    default: seen
  engine:
    description: For whom it keeps what is decided.
    type: str
    default: postgresql
    choices: [postgresql]
  endpoints:
    description: Where clients reach the members, this one's first. With V(joined) any that is well is asked.
    type: list
    elements: str
    required: true
  key:
    description: With O(state=read), the key.
    type: str
  name:
    description: The name of this member.
    type: str
  peer_url:
    description: Where the other members reach this one.
    type: str
  data_dir:
    description: Where this member's data lies.
    type: path
    default: /var/lib/etcd/default
  environment_file:
    description: The file of its unit, from which V(seen) reads how it was started last.
    type: path
  members:
    description: With O(state=planned), what V(seen) told of every member, by its name.
    type: dict
    default: {}
  cafile:
    description: The authorities that the members' certificates are judged by.
    type: path
  certfile:
    description: The certificate by which this host is let in.
    type: path
  keyfile:
    description: Its key, a file.
    type: path
  wait:
    description:
      - With O(state=seen), whether a member that has data is waited for until it answers, and then for some seconds
        until it is well, because the members may be electing a leader.
    type: bool
    default: false
  timeout:
    description: How long waiting may take, in seconds.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: What this member is
  become: true
  boringdb.ops.etcd:
    endpoints: [http://192.0.2.11:2379]
  register: seen
"""

RETURN = r"""
etcd:
  description: What this host holds (C(has_data)), and what its member says (C(answers), C(healthy), C(members)).
  returned: with O(state=seen)
  type: dict
entry:
  description: How it is to be started (C(state)), whether it is to be added, and who is to be removed before.
  returned: with O(state=planned)
  type: dict
  sample: {state: new, add: false, remove: ""}
initial_cluster:
  description: The members as one that joins has to know them.
  returned: with O(state=joined)
  type: str
value:
  description: What stands at the key, null where nothing does.
  returned: with O(state=read)
  type: str
members:
  description: The members.
  returned: with O(state=healthy)
  type: list
  elements: dict
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.etcd import etcd

CELLS: Cells = {"postgresql": etcd}


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": ["seen", "planned", "joined", "healthy", "read"], "default": "seen"},
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
        "endpoints": {"type": "list", "elements": "str", "required": True},
        "key": {"type": "str", "no_log": False},
        "name": {"type": "str"},
        "peer_url": {"type": "str"},
        "data_dir": {"type": "path", "default": "/var/lib/etcd/default"},
        "environment_file": {"type": "path"},
        "members": {"type": "dict", "default": {}},
        "cafile": {"type": "path"},
        "certfile": {"type": "path"},
        "keyfile": {"type": "path", "no_log": False},
        "wait": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 60},
    }
    needs = [
        ("state", "planned", ["name", "peer_url", "members"]),
        ("state", "joined", ["name", "peer_url"]),
        ("state", "read", ["key"]),
    ]
    run("etcd", CELLS, own, required_if=needs)


if __name__ == "__main__":
    main()
