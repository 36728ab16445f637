# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: real Debian hosts on one machine (systemd, sshd, apt, an address each), as ``python3 -m tests.lab``.

Every host is a systemd-nspawn container over a shared base tree. The kernel holds the truth about what runs:
each lab process lives in a control group under ``boringdb-lab``, so whatever a killed invocation left behind
is found there and ended by the next one. Nothing is ever mounted in the machine's own mount namespace.
"""
