# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to an object store over TLS, trusting the CA on standard input, or what the host trusts when there is none.

usage: connect_store.py HOST PORT <CA      exits 1 with one line that says why the store can't be trusted or reached

pgBackRest tries for a minute before it says what is wrong with a certificate, and then the file is already in place.
"""

import socket
import ssl
import sys


def main() -> None:
    """Connect and leave."""
    host, port = sys.argv[1], int(sys.argv[2])
    try:
        context = ssl.create_default_context(cadata=sys.stdin.read().strip() or None)
        with socket.create_connection((host, port), 20) as plain, context.wrap_socket(plain, server_hostname=host):
            pass
    except ssl.SSLCertVerificationError as exc:
        sys.exit(f"its certificate is refused: {exc.verify_message}")
    except ssl.SSLError as exc:
        sys.exit(f"it does not speak TLS, or ca_file is no certificate: {exc.reason or exc}")
    except OSError as exc:
        sys.exit(f"it can't be reached: {exc.strerror or exc}")


main()
