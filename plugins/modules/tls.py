#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls
short_description: Brings a database server's certificate and key, and sees that they are served
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Refuses a key that is not the certificate's, a certificate that has expired or is not the CA's, and a key
    that others can read, before
    anything is touched.
  - Writes key and certificates to one file, so that one rename changes both. A server that starts in between
    never finds a pair that does
    not match.
  - A renewed certificate needs a reload and no restart. Connections that stand keep the old one.
  - The settings C(ssl), C(ssl_cert_file) and C(ssl_key_file) are the business of M(boringdb.ops.config).
extends_documentation_fragment:
  - boringdb.ops.server
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows subject, end and fingerprint of certificates, and nothing of a key.
  platform:
    support: full
    platforms: posix
requirements:
  - openssl on the host
options:
  state:
    description:
      - V(installed) judges the certificate and the key, and puts them in place where they are given as text.
      - V(served) connects, compares what is served with O(certificate_file), and reloads the server where it is
        another.
    type: str
    choices: [installed, served]
    default: installed
  certificate:
    description:
      - The server's certificate in PEM form, and behind it those between it and the CA.
      - When it is left out, O(certificate_file) and O(key_file) are on the host already and are only judged.
    type: str
  key:
    description: Its key in PEM form, without a passphrase.
    type: str
  ca:
    description: The CA's certificate, or several, in PEM form.
    type: str
  certificate_file:
    description: The file on the host. With O(certificate) it will hold the key, too.
    type: path
    required: true
  key_file:
    description: The key's file on the host, where O(certificate) is left out.
    type: path
  ca_file:
    description: The CA's file on the host. With O(ca) it is written.
    type: path
  address:
    description: Where the server listens. V(served) connects there, from the host itself.
    type: str
    default: 127.0.0.1
"""

EXAMPLES = r"""
- name: Bring a renewed certificate
  become: true
  become_user: postgres
  boringdb.ops.tls:
    data_dir: /var/lib/postgresql/15/main
    certificate: "{{ lookup('ansible.builtin.file', 'pg1.crt') }}"
    key: "{{ lookup('ansible.builtin.file', 'pg1.key') }}"
    certificate_file: /etc/postgresql/15/main/tls/server.pem

- name: Have the server serve it
  become: true
  become_user: postgres
  boringdb.ops.tls:
    state: served
    data_dir: /var/lib/postgresql/15/main
    certificate_file: /etc/postgresql/15/main/tls/server.pem
"""

RETURN = r"""
fingerprint:
  description: The SHA-256 of the certificate.
  returned: success
  type: str
subject:
  description: Whose it is.
  returned: success
  type: str
  sample: CN=pg1.example.com
not_after:
  description: When it expires.
  returned: success
  type: str
  sample: "2027-02-19T10:00:00Z"
served:
  description: Whether a new connection gets it.
  returned: when O(state=served)
  type: bool
tls_version:
  description: The protocol that the server and this host agreed on.
  returned: when O(state=served)
  type: str
  sample: TLSv1.3
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.tls import tls

CELLS: Cells = {"postgresql": tls}


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": ["installed", "served"], "default": "installed"},
        "certificate": {"type": "str"},
        "key": {"type": "str", "no_log": True},
        "ca": {"type": "str"},
        "certificate_file": {"type": "path", "required": True},
        "key_file": {"type": "path", "no_log": False},
        "ca_file": {"type": "path"},
        "address": {"type": "str", "default": "127.0.0.1"},
    }
    run(
        "tls",
        CELLS,
        {**SERVER_OPTIONS, **own},
        required_together=[("certificate", "key")],
        required_by={"ca": ["ca_file"]},
        required_if=[("state", "installed", ["key", "key_file"], True)],
    )


if __name__ == "__main__":
    main()
