"""Faults of the second repository, which lies in an S3 store, and of the first one with the second still there."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from tests.faults.drill import Drill
from tests.faults.fault import fault, trap
from tests.faults.ground import Ground
from tests.faults.lab_ground import LabGround, lab
from tests.faults.lab_inventory import CLUSTER, DRILL, PORT, PRIMARY, REPOSITORY, STORE
from tests.faults.supplies import Damage, Variables
from tests.lab.s3.store import READER, WRITER


def in_far(ground: Ground) -> Variables:
    """The drill uses the repository in the store."""
    del ground
    return {"restore_drill_repository": 2}


def configured(ground: Ground, *change: str, host: str = DRILL) -> Damage:
    """Have sed change what a host knows of the repositories."""
    return lab(ground).field.configured(host, CLUSTER, *change)


@fault("the store does not answer", "repository", says=r"repository can't be reached", variables=in_far, ground="lab")
def store_unreachable(ground: Ground) -> Iterator[Variables]:
    # pgBackRest tries for io-timeout, of each of four files: a minute by default.
    with configured(
        ground, f"s/^repo2-storage-port={PORT}/repo2-storage-port=9/", "s/^io-timeout=.*/io-timeout=3/"
    ) as own:
        yield own


@fault(
    "the store does not know the key of this host", "repository",
    says=r"repository can't be reached: the object store answers 403 .*InvalidAccessKeyId", variables=in_far,
    ground="lab",
)  # fmt: skip
def store_credentials_wrong(ground: Ground) -> Iterator[Variables]:
    with configured(ground, f"s/{READER}/{READER[::-1]}/") as own:
        yield own


@fault(
    "the store's certificate is of another CA than this host trusts", "repository",
    says=r"repository can't be reached: the certificate of controller:\d+ is refused", variables=in_far, ground="lab",
)  # fmt: skip
def store_certificate_foreign(ground: Ground) -> Iterator[Variables]:
    lab(ground).on(DRILL, "cat >/etc/pgbackrest/other.pem", stdin=(ground.home / "other.pem").read_text())
    with configured(ground, "s,^repo2-storage-ca-file=.*,repo2-storage-ca-file=/etc/pgbackrest/other.pem,") as own:
        yield own
    lab(ground).on(DRILL, "rm /etc/pgbackrest/other.pem")


@fault(
    "the store has no such bucket", "repository",
    says=r"repository can't be reached: the object store answers 404 .*NoSuchBucket", variables=in_far, ground="lab",
)  # fmt: skip
def store_bucket_missing(ground: Ground) -> Iterator[Variables]:
    with configured(ground, f"s/^repo2-s3-bucket={STORE}/repo2-s3-bucket=nowhere/") as own:
        yield own


@fault(
    "the key of the repository in the store is missing on this host", "repository",
    says=r"repository .*can't be read: it is encrypted with another key", variables=in_far, ground="lab",
)  # fmt: skip
def store_key_missing(ground: Ground) -> Iterator[Variables]:
    with configured(ground, "/^repo2-cipher-/d") as own:
        yield own


def far_rpo(ground: Ground) -> Variables:
    """An objective that the second repository misses once it is not written to."""
    ground.archive()
    return {**in_far(ground), "db_rpo_seconds": 1}


@fault(
    "the second repository stale: nothing is archived there, while the first one goes on", "rpo",
    says=r"the newest commit in the archive is \S+ s old, the objective is 1 s", variables=far_rpo, ground="lab",
)  # fmt: skip
def second_repository_stale(ground: Ground) -> Iterator[Variables]:
    with configured(ground, f"s/{WRITER}/{WRITER[::-1]}/", host=PRIMARY):
        ground.write(3)
        first_only(lab(ground))
        yield {}
    ground.archive()


def first_only(ground: LabGround) -> None:
    """Have what was written archived in the first repository; the second takes nothing."""
    name = ground.sql("SELECT pg_walfile_name(pg_switch_wal())")
    there = f"find /var/lib/pgbackrest/archive/{CLUSTER} -name '{name}-*' | grep -q ."
    ground.on(REPOSITORY, f"for i in $(seq 300); do {there} && exit 0; sleep 0.1; done; exit 1")


@trap("the first repository is gone with its host: the drill of the second one verifies", "backup_complete")
def first_repository_gone(ground: Ground) -> Generator[Variables, Drill, list[str]]:
    it = lab(ground)
    it.lab("cut", REPOSITORY)
    met = yield in_far(ground)
    it.lab("heal", REPOSITORY)
    used = met.predicate["measurements"].get("backup_repository")
    return [] if used == 2 else [f"the backup is of repository {used}"]
