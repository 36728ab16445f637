# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to pgBackRest's TLS server as pgBackRest does: by name, with this host's certificate, to the same version.

usage: connect_pgbackrest.py HOST PORT PAIR CA      exits 1 with one line that says why it will not work

Prints a line when the server's certificate ends within 30 days.
"""

import re
import socket
import ssl
import subprocess
import sys
import time

# A server that has just been started does not listen yet.
ATTEMPTS = 5


def greeted(host: str, port: int, pair: str, authorities: str) -> "tuple[str, float]":
    """The version that the server tells, and when its certificate ends."""
    context = ssl.create_default_context(cafile=authorities)
    context.load_cert_chain(pair)
    plain = socket.create_connection((host, port), 20)
    with plain, context.wrap_socket(plain, server_hostname=host) as secured:
        found = re.search(rb'"version":"([^"]+)"', secured.recv(4096))
        if not found:
            sys.exit("it does not answer as pgBackRest does (another program listens there)")
        return found.group(1).decode(), ssl.cert_time_to_seconds(secured.getpeercert()["notAfter"])


def main() -> None:
    """Connect, compare and leave."""
    host, port, pair, authorities = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    for attempt in range(ATTEMPTS):
        try:
            version, ends = greeted(host, port, pair, authorities)
            break
        except ssl.SSLCertVerificationError as exc:
            sys.exit(f"its certificate is refused: {exc.verify_message} (give all hosts certificates of one CA)")
        except ssl.SSLError as exc:
            sys.exit(f"no TLS with it, or it refuses this host's certificate: {exc.reason or exc}")
        except socket.gaierror as exc:
            sys.exit(f"its name is unknown here: {exc.strerror} (have every host resolve it, or set backup_tls_name)")
        except OSError as exc:
            if attempt + 1 == ATTEMPTS:
                sys.exit(f"it can't be reached: {exc.strerror or exc} (see that the port is open, and who listens)")
            time.sleep(1)
    own = subprocess.run(["pgbackrest", "version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    if version != own:
        sys.exit(f"it is pgBackRest {version}, and this host's is {own} (bring both to one version)")
    if ends - time.time() < 30 * 86400:
        print(f"the certificate of {host} ends in {(ends - time.time()) / 86400:.1f} days")


main()
