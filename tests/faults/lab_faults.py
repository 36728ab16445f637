"""Faults that need real hosts: amcheck, encryption, tablespaces, a configuration outside the data directory."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from tests.faults.drill import Drill
from tests.faults.fault import fault, in_live, trap
from tests.faults.ground import Ground
from tests.faults.lab_field import FIELD
from tests.faults.lab_ground import lab
from tests.faults.lab_inventory import CONNECTION, DRILL, KEY, PRIMARY, REPOSITORY, SPACE
from tests.faults.supplies import Variables

#: An index in the order of a function that then changes its mind: what a library's new collation does to one.
ODD_ORDER = """
CREATE FUNCTION shop.compare(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT sign(a - b)::int';
CREATE OPERATOR CLASS shop.by_compare FOR TYPE int USING btree AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 shop.compare(int, int);
CREATE TABLE shop.sorted (n int);
INSERT INTO shop.sorted SELECT generate_series(1, 2000);
CREATE INDEX sorted_n ON shop.sorted (n shop.by_compare);
"""
TURN = """
CREATE OR REPLACE FUNCTION shop.compare(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT sign(b - a)::int'
"""
#: Where there is nothing on the drill host.
LATER = "/srv/later"


def structure_required(ground: Ground) -> Variables:
    """Have the structure checked: on real hosts amcheck is there."""
    return {**ground.live_variables(), "restore_drill_required": ["structure"]}


@fault(
    "an index out of order, its bytes being right", "structure",
    says=r"structure: .*sorted_n.*item order invariant violated", variables=structure_required, ground="lab",
)  # fmt: skip
def index_corrupt(ground: Ground) -> Iterator[Variables]:
    ground.sql(ODD_ORDER)
    ground.sql(TURN)
    ground.backup()
    yield {}
    ground.sql("DROP TABLE shop.sorted; DROP OPERATOR FAMILY shop.by_compare USING btree; DROP FUNCTION shop.compare")
    ground.renew()


@fault("the repository's key is another one", "repository", says=r"encrypted with another key", ground="lab")
def repository_key_wrong(ground: Ground) -> Iterator[Variables]:
    with lab(ground).field.configured(REPOSITORY, FIELD, f"s/{KEY}/another key/") as own:
        yield own


@fault("the repository's key is missing on its host", "repository", says=r"encrypted with another key", ground="lab")
def repository_key_missing(ground: Ground) -> Iterator[Variables]:
    with lab(ground).field.configured(REPOSITORY, FIELD, "/^repo1-cipher-/d") as own:
        yield own


@fault(
    "a byte flipped in the backup, in a file of a tablespace", "backup_bytes",
    says=r"is damaged in the repository: .*lz4 error: ", ground="lab",
)  # fmt: skip
def tablespace_byte_flipped(ground: Ground) -> Iterator[Variables]:
    with ground.field.flipped("shop.parcel") as own:
        yield own


@fault(
    "a file of a tablespace missing from the backup", "backup_bytes",
    says=r"is damaged in the repository: .*missing file '\S*/pg_tblspc/", ground="lab",
)  # fmt: skip
def tablespace_file_missing(ground: Ground) -> Iterator[Variables]:
    with ground.field.without("shop.parcel") as own:
        yield own


@fault(
    "a tablespace whose place is empty on the source when it is backed up", "relations_readable", "structure",
    says=r"shop.parcel: could not open file .pg_tblspc/", variables=in_live, ground="lab",
)  # fmt: skip
def tablespace_lost(ground: Ground) -> Iterator[Variables]:
    on = lab(ground).on
    with ground.backup_around():
        # Nothing of it may have to be written meanwhile.
        ground.sql("CHECKPOINT")
        on(PRIMARY, f"mv {SPACE} {SPACE}.away && cp -a {SPACE}.away {SPACE} && find {SPACE} -type f -delete")
    yield {}
    on(PRIMARY, f"rm -rf {SPACE} && mv {SPACE}.away {SPACE}")
    ground.renew()


@fault(
    "a tablespace made after the backup, at a place that the drill host has not got", "target_reached",
    says=r"directory \"/srv/later\" does not exist", variables=in_live, ground="lab",
)  # fmt: skip
def tablespace_made_later(ground: Ground) -> Iterator[Variables]:
    ground.ready({})
    lab(ground).on(PRIMARY, f"install -d -o postgres -m 700 {LATER}")
    ground.sql(f"CREATE TABLESPACE later LOCATION '{LATER}'")
    ground.archive()
    yield {}
    ground.sql("DROP TABLESPACE later")
    lab(ground).on(PRIMARY, f"rmdir {LATER}")
    # No older backup leads past it, in no repository.
    lab(ground).take(2)
    ground.renew()


@fault(
    "a configuration file from outside the data directory missing from the backup", "settings",
    says=r"settings: in boringdb/config: \S*pg_hba.conf is missing", variables=in_live, ground="lab",
)  # fmt: skip
def configuration_missing(ground: Ground) -> Iterator[Variables]:
    with ground.backup_around():
        lab(ground).on(PRIMARY, f"find {CONNECTION['data_dir']}/boringdb/config -name pg_hba.conf -delete")
    yield {}
    ground.renew()


@fault(
    "the drill host too small for the source's max_connections", "capacity",
    says=r"capacity: this host is too small for the source's max_connections=\d+", variables=in_live, ground="lab",
)  # fmt: skip
def drill_host_too_small(ground: Ground) -> Iterator[Variables]:
    on = lab(ground).on
    # What a small host's kernel would say.
    small = "sed 's/^MemAvailable:.*/MemAvailable: 100000 kB/' /proc/meminfo > /root/meminfo"
    on(DRILL, f"{small} && mount --bind /root/meminfo /proc/meminfo")
    yield {}
    on(DRILL, "umount /proc/meminfo")


@trap(
    "the source holds a subscription, which the copy must not follow: it never connects to the publisher", "isolation"
)
def subscription_in_source(ground: Ground) -> Generator[Variables, Drill, list[str]]:
    on, address = lab(ground).on, lab(ground).address
    # The publisher logs who knocks, whether it lets them in or not.
    ground.sql("ALTER SYSTEM SET log_connections = on;\nSELECT pg_reload_conf()")
    connection = f"host={address[PRIMARY]} user=follower dbname=postgres"
    ground.sql(
        "CREATE PUBLICATION every_price FOR TABLE shop.price;\n"
        "SELECT pg_create_logical_replication_slot('of_production', 'pgoutput');\n"
        f"CREATE SUBSCRIPTION prices CONNECTION '{connection}' PUBLICATION every_price "
        "WITH (connect = false, slot_name = 'of_production')"
    )
    ground.sql("ALTER SUBSCRIPTION prices ENABLE")
    ground.backup()
    yield {}
    log = on(PRIMARY, "cat /var/log/postgresql/*.log")
    misses = []
    if f"host={address[DRILL]}" in log:
        misses.append("the copy connected to the publisher")
    if f"host={address[PRIMARY]}" not in log:
        misses.append("the source's own subscription never connected, so nothing was shown")
    ground.sql("ALTER SUBSCRIPTION prices DISABLE;\nALTER SUBSCRIPTION prices SET (slot_name = NONE)")
    ground.sql("DROP SUBSCRIPTION prices;\nDROP PUBLICATION every_price")
    ground.sql("SELECT pg_drop_replication_slot('of_production')")
    ground.sql("ALTER SYSTEM RESET log_connections;\nSELECT pg_reload_conf()")
    ground.renew()
    return misses


@trap("the source waits for a synchronous standby, which the copy must not: it commits all the same", "isolation")
def synchronous_in_source(ground: Ground) -> Generator[Variables, Drill, list[str]]:
    ground.sql("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (nobody)';\nSELECT pg_reload_conf()")
    ground.backup()
    # Installing amcheck is a commit on the copy.
    met = yield {"restore_drill_required": ["structure"]}
    ground.sql("ALTER SYSTEM RESET synchronous_standby_names;\nSELECT pg_reload_conf()")
    ground.renew()
    structure = [check["status"] for check in met.predicate["checks"] if check["name"] == "structure"]
    return [] if structure == ["passed"] else [f"structure is {structure}, so nothing is known to have committed"]
