#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: object_lock
short_description: Refuses a bucket that does not keep what is written to it
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Asks a bucket of S3, or of a store that speaks like it, for its versioning and for the default retention of its
    Object Lock, and fails with every reason at once where they are less than expected.
  - It only reads. A bucket's Object Lock is the business of the store's owner, who should not be the database's.
  - The bucket's default holds for what is written from now on. Objects that are there keep the retention that they were
    written with. With O(stanza), those of pgBackRest's newest backup are asked for theirs, too.
  - It runs where boto3 is, which is the controller rather than a database's host.
extends_documentation_fragment:
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: It changes nothing.
  platform:
    support: full
    platforms: posix
requirements:
  - boto3
options:
  bucket:
    description: The bucket.
    type: str
    required: true
  endpoint:
    description: The store's name, without scheme and port.
    type: str
    required: true
  port:
    description: The store's port.
    type: int
    default: 443
  region:
    description: The bucket's region.
    type: str
    required: true
  uri_style:
    description: Whether the bucket is part of the name or of the path.
    type: str
    choices: [host, path]
    default: host
  key:
    description: The access key. Without it, boto3 looks for one where it always does.
    type: str
  key_secret:
    description: The secret access key.
    type: str
  ca_file:
    description: A file with the CA that signed the store's certificate. The default is what boto3 trusts.
    type: path
  mode:
    description:
      - V(compliance) is what nobody gets around, not even the account's owner.
      - V(governance) is satisfied by either.
    type: str
    choices: [compliance, governance]
    default: compliance
  days:
    description: For how many days at least an object must be kept. A year counts as 365.
    type: int
    required: true
  stanza:
    description:
      - A stanza of pgBackRest's, whose newest whole backup in the bucket is looked at. Each object that is asked must
        carry a retention that is not over, in the expected mode, O(days) long from when it was written.
      - Where the bucket holds no backup of it, there is nothing to ask. What an incremental backup needs of the earlier
        ones is not looked at.
    type: str
  path:
    description: Where the repository lies in the bucket.
    type: str
    default: /pgbackrest
  sample:
    description: How many of the backup's objects are asked, at random, beside its manifest.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Refuse a bucket from which backups can be removed
  delegate_to: localhost
  boringdb.ops.object_lock:
    bucket: orders-backups
    endpoint: s3.eu-west-1.amazonaws.com
    region: eu-west-1
    days: 35

- name: Read back what the newest backup was given
  delegate_to: localhost
  boringdb.ops.object_lock:
    bucket: orders-backups
    endpoint: s3.eu-west-1.amazonaws.com
    region: eu-west-1
    days: 35
    stanza: orders
    path: /orders
"""

RETURN = r"""
versioning:
  description: V(enabled), V(suspended) or V(disabled).
  returned: success
  type: str
  sample: enabled
mode:
  description: The mode of the default retention.
  returned: success
  type: str
  sample: compliance
days:
  description: For how long an object is kept that is written now.
  returned: success
  type: int
  sample: 35
backup:
  description: The label of the backup whose objects were asked. Empty where there is none.
  returned: success, with O(stanza)
  type: str
  sample: 20260131-020003F
objects:
  description: How many objects were asked.
  returned: success, with O(stanza)
  type: int
  sample: 22
kept_until:
  description: Until when all of them are kept.
  returned: success, with O(stanza)
  type: str
  sample: "2026-03-07T02:00:41+00:00"
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.object_lock import LIBRARY, object_lock


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "endpoint": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "region": {"type": "str", "required": True},
            "uri_style": {"type": "str", "choices": ["host", "path"], "default": "host"},
            "key": {"type": "str", "no_log": True},
            "key_secret": {"type": "str", "no_log": True},
            "ca_file": {"type": "path"},
            "mode": {"type": "str", "choices": ["compliance", "governance"], "default": "compliance"},
            "days": {"type": "int", "required": True},
            "stanza": {"type": "str"},
            "path": {"type": "str", "default": "/pgbackrest"},
            "sample": {"type": "int", "default": 20},
        },
        required_together=[("key", "key_secret")],
        supports_check_mode=True,
    )
    if not LIBRARY:
        module.fail_json(msg=missing_required_lib("boto3"))
    try:
        outcome = object_lock(module.params, module.check_mode)
    except OpsError as error:
        module.fail_json(msg=as_line(error))
    module.exit_json(changed=False, **outcome.facts)


if __name__ == "__main__":
    main()
