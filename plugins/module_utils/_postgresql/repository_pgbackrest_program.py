# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pgbackrest program: called for one stanza, its many-line errors told in one line with what to do about them.

pgBackRest answers some failures with exit code 0 (`info` of an unreachable repository, `verify` of a damaged one),
so its callers judge what was printed, too.
"""

from __future__ import annotations

import json
import re
import signal
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Damaged, OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import killer, run, run_bytes

#: The place where pgBackRest itself looks, after /etc/pgbackrest/pgbackrest.conf; then no `--config` is passed.
DEFAULT_CONFIG = "/etc/pgbackrest.conf"
#: Errors and warnings to standard error, nothing else to standard output than the answer, whatever the file says.
_QUIET = ("--log-level-console=off", "--log-level-stderr=warn", "--no-log-timestamp")
#: The steps of a command to standard output, for those whose answer they are.
_TELLING = ("--log-level-console=info", "--log-level-stderr=error", "--no-log-timestamp")
_STEP = re.compile(r"^(?:P\d+ +)?INFO: (.*)", re.MULTILINE)
_ERROR = re.compile(r"^ERROR: \[(\d+)\]: (.*)", re.MULTILINE)
_WARNING = re.compile(r"^WARN: (.*)", re.MULTILINE)
_FOREIGN_KEY = re.compile(r"unable to load info file.*key/value found outside of section|unable to flush", re.DOTALL)
_UNREACHABLE = re.compile(
    r"remote-\d+ process on '[^']*' terminated|\[HostConnectError\]|unable to connect to|unable to find host"
    r"|unable to get address for"
    # A host's TLS server that does not take the certificate of this host.
    r"|TLS error \["
    # A connection that ends in the middle of a file.
    r"|client state is 'data-\w+' but expected 'idle'"
)
#: Of `info`, which has read the backups' catalogue by then. Its hint to create the stanza would bury what is left.
_NO_ARCHIVE = re.compile(r"unable to open missing file '[^']*/archive/[^/']+/archive\.info'")
#: A stored file that is not what was written, or is gone, seen while it is restored: by then the key is known to fit.
_DAMAGE = re.compile(
    r"(?:lz4|zst|gz|bz2) error: |unable to (?:flush|decompress|open missing file)|checksum '\w+' does not match"
    r"|unexpected (?:eof|end) |\[(?:FormatError|ChecksumError|CryptoError|FileMissingError)\]"
)
#: Of a host's TLS server: it knows the certificate's CN, and not for this stanza, or not at all.
_DENIED = re.compile(r"raised from remote-\d+ tls protocol on '([^']+)': access denied")
#: The certificate of an object store or of a host: another CA signed it, it is of another name, or it has ended.
_CERTIFICATE = re.compile(
    r"unable to verify certificate presented by '([^']+)': (.*)|(unable to find hostname '([^']+)' in certificate.*)"
)
#: An object store's own answer. The rest of pgBackRest's message is the whole request.
_STORE = re.compile(r"<Code>(\w+)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
_HTTP = re.compile(r"HTTP request failed with (\d+ ?\([^)]*\)|\d+)")
#: Error 50, of this host or of the other side.
_LOCKED = re.compile(r"unable to acquire lock on file")
_FAR = re.compile(r"raised from remote-\d+ \w+ protocol on '([^']+)'")
#: The same for a repository in a local directory; only of commands that touch nothing else.
_UNREADABLE = re.compile(r"unable to (?:list file info for|get info for|open) (?:file|path)\S* .*\[\d+\]")
_ASKING_THE_CLUSTER = ("backup", "check")
#: Of those, whose other end is the cluster's host: the repository is here, or in an object store.
_NO_SERVER = re.compile(
    r"\[DbConnectError\]|unable to find primary cluster|no database found|remote-\d+ process on '[^']*' terminated"
)
_WARNED = re.compile(r"^WARN: unable to check pg\d+: ", re.MULTILINE)
_READING = ("info", "repo-ls", "repo-get")


class Pgbackrest:
    """The program with the options that every call of one stanza has in common."""

    def __init__(self, stanza: str, config_path: str) -> None:
        self.stanza = stanza
        self.config_path = config_path

    def argv(self, command: str, *words: str, quiet: tuple[str, ...] = _QUIET) -> list[str]:
        """`command` as an argument list."""
        config = [] if self.config_path == DEFAULT_CONFIG else [f"--config={self.config_path}"]
        return ["pgbackrest", *config, f"--stanza={self.stanza}", *quiet, command, *words]

    def call(self, command: str, *words: str) -> tuple[str, list[str]]:
        """Run `command` to its end; returns what it printed and its warnings. Raises OpsError in one line."""
        # Its processes do not end with the first one while they wait for a host that does not answer.
        done = run(self.argv(command, *words), check=False, guarded=True)
        if done.returncode != 0:
            said = done.stderr or done.stdout
            if command == "restore" and _DAMAGE.search(said):
                raise Damaged(self._damage(said))
            raise OpsError(self.told(command, said, done.returncode))
        return done.stdout, _WARNING.findall(done.stderr)

    def steps(self, command: str, *words: str) -> list[str]:
        """Run `command` to its end; returns what it tells that it does, line by line. Raises OpsError in one line."""
        done = run(self.argv(command, *words, quiet=_TELLING), check=False, guarded=True)
        if done.returncode != 0:
            raise OpsError(self.told(command, done.stderr or done.stdout, done.returncode))
        return _STEP.findall(done.stdout)

    def document(self, command: str, *words: str) -> Any:
        """The JSON that `command` prints."""
        text, _warnings = self.call(command, "--output=json", *words)
        try:
            # pgBackRest quotes unreadable files in its messages, with control characters that JSON forbids.
            return json.loads(text, strict=False)
        except ValueError as exc:
            if _FOREIGN_KEY.search(text):
                raise OpsError(self.told(command, text)) from exc
            raise OpsError(f"pgbackrest {command} of stanza {self.stanza} did not answer in JSON: {exc}") from exc

    def read(self, path: str, *words: str) -> bytes:
        """A file of the repository, decrypted but not decompressed; empty where `--ignore-missing` ignored it."""
        done = run_bytes(self.argv("repo-get", *words, path))
        if done.returncode == 1 and "--ignore-missing" in words and not done.stderr:
            return b""
        if done.returncode != 0:
            raise OpsError(self.told("repo-get", done.stderr.decode(errors="replace"), done.returncode))
        return done.stdout

    def told(self, command: str, text: str, code: int = 0) -> str:
        """One line for what pgBackRest printed: what it means where that is known, else its own first words."""
        if _FOREIGN_KEY.search(text):
            # What follows in pgBackRest's message is the encrypted file itself: never repeat it.
            return (
                f"the repository of stanza {self.stanza} can't be read: it is encrypted with another key than this "
                f"host has, or damaged; compare repo1-cipher-type and repo1-cipher-pass with the repository host's"
            )
        said = self._store(text) or one_line(text)
        known = self._crash(command, text, code) or self._locked(command, text) or self._denied(text)
        known = known or self._lost(command, text)
        if known:
            return known
        unreachable = any(words.search(text) for words in (_CERTIFICATE, _HTTP, _UNREACHABLE))
        if unreachable or (command in _READING and _UNREADABLE.search(text)):
            return f"the repository can't be reached: {said}"
        unknown = re.search(r"key '(\d+)' is not valid for 'repo' option", text)
        if unknown:
            return f"pgBackRest knows no repository {unknown.group(1)} on this host; name one of its repoN options"
        if "has a stanza-create been performed" in text:
            return (
                f"the WAL archive can't be reached: archive/{self.stanza} is gone from the repository"
                if command == "info" and _NO_ARCHIVE.search(text)
                else f"the repository has no stanza {self.stanza}; create it with stanza-create or correct its name"
            )
        found = _ERROR.search(text)
        number = int(found.group(1)) if found else code
        return f"pgbackrest {command} of stanza {self.stanza} failed with error {number}: {said or 'it said nothing'}"

    def _damage(self, text: str) -> str:
        """What `restore` says of a file that is not what was written. Of some kinds of damage it names no file."""
        return (
            f"a backup of stanza {self.stanza} is damaged in the repository: {one_line(text)}; use another one; "
            f"pgbackrest --stanza={self.stanza} verify, on the repository's host, tells which files are"
        )

    def _crash(self, command: str, text: str, code: int) -> str:
        """What a signal that ended pgBackRest, here or on the other side, means; empty where there was none."""
        if command == "verify" and "Segmentation fault" in text:
            # Seen with 2.45, whenever there is WAL in the archive.
            return (
                "pgbackrest verify crashes on a repository behind SSH in this version; run it on the repository's host"
            )
        if command in _READING and code == -signal.SIGSEGV:
            # Seen with 2.45, where the repository's host has a key that does not fit.
            return (
                f"the repository of stanza {self.stanza} can't be read: pgbackrest {command} crashes, as it does "
                "behind SSH when the repository is encrypted with another key; run it on its host, where it says why"
            )
        return f"pgbackrest {command} of stanza {self.stanza} was killed by {killer(code)}" if code < 0 else ""

    def _store(self, text: str) -> str:
        """What an object store, or its certificate, makes of the request; empty where neither is the matter."""
        found = _CERTIFICATE.search(text)
        if found:
            name, why = (found.group(1), found.group(2)) if found.group(1) else (found.group(4), found.group(3))
            return (
                f"the certificate of {name} is refused: {re.sub(r'^.[0-9]+. ', '', why.strip())}; "
                "name the CA that signed it (repoN-storage-ca-file, of a host repoN-host-ca-file or pgN-host-ca-file), "
                "or the endpoint or host as the certificate does"
            )
        http = _HTTP.search(text)
        if not http:
            return ""
        said = _STORE.search(text)
        return f"the object store answers {http.group(1)}" + (
            f": {said.group(1)}{': ' if said.group(2) else ''}{said.group(2) or ''}" if said else ""
        )

    def _denied(self, text: str) -> str:
        """That a host's TLS server does not know this host; empty where it does."""
        denied = _DENIED.search(text)
        if not denied:
            return ""
        return (
            f"{denied.group(1)} does not let this host at stanza {self.stanza}: its server knows no client of that "
            "stanza with the CN of this host's certificate (tls-server-auth there)"
        )

    def _lost(self, command: str, text: str) -> str:
        """That the cluster's server or host is out of reach; empty where it is not, or is not asked."""
        if command not in _ASKING_THE_CLUSTER or not _NO_SERVER.search(text):
            return ""
        return f"the primary of stanza {self.stanza} can't be reached: {one_line(_WARNED.sub('', text))}"

    def _locked(self, command: str, text: str) -> str:
        """Who is in the way, and how it ends; empty where nobody is. The cluster's host has a lock, too."""
        if not _LOCKED.search(text):
            return ""
        far = _FAR.search(text)
        where = f"on {far.group(1)}" if far else "on this host"
        return (
            f"pgbackrest {command} of stanza {self.stanza} is refused: another pgbackrest process {where} is at it; "
            "wait for its end. One that has lost its connection ends within 31 minutes, or at once there by "
            f"pgbackrest --stanza={self.stanza} stop --force and then start"
        )


def one_line(text: str) -> str:
    """The words of an error message with its first hint, without its number, repetitions and retries."""
    lines = [re.sub(r"^(?:ERROR: )?\[\w+\]:? ", "", line.strip()) for line in text.splitlines() if line.strip()]
    words = [line for line in lines if not re.match(r"HINT:|WARN:|\w+Error: |on retry ", line)]
    hints = [line for line in lines if line.startswith("HINT:")]
    return "; ".join(dict.fromkeys([*words[:2], *hints[:1]]))
