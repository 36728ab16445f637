#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: notification
short_description: Tell people and programs what the evidence ledger says
version_added: 0.1.0
description:
  - Reads the ledger that M(boringdb.ops.evidence) keeps, verifies it with the given public key, and tells by every
    channel what is new since that channel was told last.
  - A drill that did not happen is told as one that failed. So is a chain that was cut since the last run, for the
    memory keeps each chain's head.
  - The same state is told once, a recovered one once, too. A channel that did not take its message is tried again by
    the next run, the others are left in peace.
  - Nothing is written to the ledger.
  - Runs where the ledger is, which is the controller. Delegate it to localhost and run it with the interpreter
    of Ansible itself, as the role P(boringdb.ops.notification#role) does.
author:
  - boringdb.ops contributors (@boringdb)
requirements:
  - cryptography
extends_documentation_fragment:
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Says what would be told, and sends and writes nothing.
  diff_mode:
    support: partial
    details:
      - The diff has what is told, not the messages.
  platform:
    support: full
    platforms: posix
options:
  ledger:
    description:
      - Folder of the ledger. One that is not there is told as drills that never happened, where clusters are expected.
    type: path
    required: true
  public_key:
    description:
      - Paths of the public keys that are trusted.
    type: list
    elements: path
    required: true
  memory:
    description:
      - File that holds what each channel was told, and the head of each chain. Made by the first run, with mode 0600.
    type: path
    required: true
  clusters:
    description:
      - Clusters that must have been drilled. A cluster that was seen once is expected without being named.
    type: list
    elements: str
    default: []
  forget:
    description:
      - Clusters that are gone for good. They are neither told nor expected any more.
    type: list
    elements: str
    default: []
  overdue_days:
    description:
      - How many days old the last verified restore drill of a cluster may become.
    type: float
    default: 7
  overdue:
    description:
      - O(overdue_days) of clusters that are drilled more or less often. These are expected, too.
    type: dict
    default: {}
  witnesses:
    description:
      - Head digests that were kept outside of the ledger, by cluster, one or a list of them.
    type: dict
  again:
    description:
      - Whether states that last are told again by this run.
    type: bool
    default: false
  remind_hours:
    description:
      - After how many hours a state that lasts is told again, V(0) for never.
    type: float
    default: 0
  textfile:
    description:
      - File for the textfile collector of Prometheus' node_exporter. It must end in C(.prom).
      - Its folder must exist.
    type: path
  channels:
    description:
      - How people are told.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What the memory knows it by. With another name everything is told again.
        type: str
        required: true
      kind:
        description:
          - V(webhook) posts JSON, V(slack) posts what incoming webhooks of Slack take, V(mail) sends a mail.
        type: str
        choices: [webhook, slack, mail]
        required: true
      url:
        description: Where to post, if that is no secret.
        type: str
      url_file:
        description: File with the address where it is one, as with Slack. Refused where others may read it.
        type: path
      token_file:
        description: File with a token, sent as C(Authorization:) C(Bearer). Refused where others may read it.
        type: path
      host:
        description: The mail server.
        type: str
      port:
        description: Its port. The default is 587, 465 or 25, by O(channels[].tls).
        type: int
      tls:
        description: How the mail server is spoken to.
        type: str
        choices: [starttls, implicit, none]
        default: starttls
      user:
        description: The account at the mail server.
        type: str
      password_file:
        description: File with its password. Refused where others may read it, and with O(channels[].tls=none).
        type: path
      sender:
        description: From whom the mail is.
        type: str
      to:
        description: To whom it goes.
        type: list
        elements: str
      ca_file:
        description: Certificates that are trusted instead of the system's.
        type: path
      timeout:
        description: Seconds for the whole message.
        type: float
        default: 20
  lock_timeout:
    description:
      - Seconds to wait for another run with the same memory.
    type: int
    default: 60
notes:
  - A run that is killed between sending and noting it sends once more.
seealso:
  - module: boringdb.ops.evidence
  - module: boringdb.ops.report
"""

EXAMPLES = r"""
- name: Tell what is new
  boringdb.ops.notification:
    ledger: /srv/evidence
    public_key: [/etc/boringdb/evidence.pub.pem]
    memory: /var/lib/boringdb/notification.json
    clusters: [orders, customers]
    overdue: {customers: 31}
    textfile: /var/lib/node_exporter/boringdb.prom
    channels:
      - {name: team, kind: slack, url_file: /etc/boringdb/slack}
      - {name: audit, kind: mail, host: mail.example.com, sender: db@example.com, to: [audit@example.com]}
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""

RETURN = r"""
headline:
  description: The state of everything in one line.
  returned: success
  type: str
  sample: 2 of 8 clusters need attention
told:
  description: By channel, what it was told, or would be in check mode. Also returned when another channel failed.
  returned: success
  type: dict
written:
  description: Whether the metrics changed.
  returned: success
  type: bool
clusters:
  description: By cluster C(state) and C(problems), as with M(boringdb.ops.report).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import MISSING_CRYPTOGRAPHY
from ansible_collections.boringdb.ops.plugins.module_utils._core.notification import notify

CHANNEL = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["webhook", "slack", "mail"], "required": True},
    "url": {"type": "str"},
    "url_file": {"type": "path"},
    "token_file": {"type": "path", "no_log": False},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "tls": {"type": "str", "choices": ["starttls", "implicit", "none"], "default": "starttls"},
    "user": {"type": "str"},
    "password_file": {"type": "path", "no_log": False},
    "sender": {"type": "str"},
    "to": {"type": "list", "elements": "str"},
    "ca_file": {"type": "path"},
    "timeout": {"type": "float", "default": 20},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "ledger": {"type": "path", "required": True},
            "public_key": {"type": "list", "elements": "path", "required": True, "no_log": False},
            "memory": {"type": "path", "required": True},
            "clusters": {"type": "list", "elements": "str", "default": []},
            "forget": {"type": "list", "elements": "str", "default": []},
            "overdue_days": {"type": "float", "default": 7},
            "overdue": {"type": "dict", "default": {}},
            "witnesses": {"type": "dict"},
            "again": {"type": "bool", "default": False},
            "remind_hours": {"type": "float", "default": 0},
            "textfile": {"type": "path"},
            "channels": {"type": "list", "elements": "dict", "default": [], "options": CHANNEL},
            "lock_timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if MISSING_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=MISSING_CRYPTOGRAPHY)
    try:
        outcome = notify(module.params, module.check_mode)
    except OpsError as error:
        module.fail_json(msg=as_line(error), **error.facts)
    except OSError as error:
        module.fail_json(msg=as_line(error))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(changed=outcome.changed, diff={"before": outcome.before, "after": outcome.after}, **outcome.facts)


if __name__ == "__main__":
    main()
