# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that asks pgbouncer's admin console."""

from __future__ import annotations


class ModuleDocFragment:
    """The pooler's options."""

    DOCUMENTATION = r"""
options:
  engine:
    description: The database engine behind the pooler.
    type: str
    default: postgresql
    choices: [postgresql]
  config_file:
    description: pgbouncer's configuration on this host, for what is on this host.
    type: path
  consoles:
    description:
      - Where the admin consoles answer. Several processes behind one port have one each.
      - When it is left out, C(unix_socket_dir) and C(listen_port) of O(config_file) tell it.
    type: list
    elements: dict
    suboptions:
      host:
        description: An address, or the directory of a socket.
        type: str
        required: true
      port:
        description: The port, which also names the socket.
        type: int
        required: true
  login_user:
    description:
      - One of the pooler's C(admin_users).
      - V(pgbouncer) needs no password on a socket, from the account that the pooler runs as.
    type: str
    default: pgbouncer
  login_password:
    description: Its password.
    type: str
  login_sslmode:
    description: Whether the connection to a console is encrypted, in libpq's words.
    type: str
    default: prefer
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
  login_ca:
    description: The authorities that a console's certificate is judged by.
    type: path
requirements:
  - psycopg >= 3.1 on the host
"""
