"""Faults that need real hosts: amcheck, an encrypted repository, a configuration outside the data directory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.drill import drill
from tests.faults.fault import FAULTS, Caught, fault, in_live
from tests.faults.ground import Ground, Variables
from tests.faults.lab_ground import CONNECTION, DRILL, KEY, PRIMARY, REPOSITORY, LabGround

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
CONF = "/etc/pgbackrest/conf.d/orders.conf"


def lab(ground: Ground) -> LabGround:
    """The ground as what it is."""
    assert isinstance(ground, LabGround)
    return ground


def structure_required(ground: Ground) -> Variables:
    """Have the structure checked: on real hosts amcheck is there."""
    del ground
    return {"restore_drill_required": ["structure"]}


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
    ground.backup()


@fault(
    "the repository's key is another one", "repository", says=r"repository: .*encrypted with another key",
    variables=in_live, ground="lab",
)  # fmt: skip
def repository_key_wrong(ground: Ground) -> Iterator[Variables]:
    on = lab(ground).on
    on(REPOSITORY, f'cp -a {CONF} /root/kept && sed -i "s/{KEY}/another key/" {CONF} && ! cmp -s {CONF} /root/kept')
    yield {}
    on(REPOSITORY, f"cp -a /root/kept {CONF}")


@fault(
    "a configuration file from outside the data directory missing from the backup", "settings",
    says=r"settings: in boringdb/config: \S*pg_hba.conf is missing", variables=in_live, ground="lab",
)  # fmt: skip
def configuration_missing(ground: Ground) -> Iterator[Variables]:
    with ground.backup_around():
        lab(ground).on(PRIMARY, f"find {CONNECTION['data_dir']}/boringdb/config -name pg_hba.conf -delete")
    yield {}
    ground.backup()


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


@dataclass(frozen=True)
class Subscription:
    """A subscription in the source, which a copy must not follow: it would eat the slot of production's own."""

    name: str = "subscription_in_source"
    what: str = "the source holds a subscription, which the copy must not follow: it never connects to the publisher"
    ground: str = "lab"

    def prove(self, ground: Ground) -> Caught:
        """Have the publisher log who knocks, whether it lets them in or not; drill; look for the drill host there."""
        begun = time.monotonic()
        on, address = lab(ground).on, lab(ground).address
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
        met = drill(ground, {})
        log = on(PRIMARY, "cat /var/log/postgresql/*.log")
        misses = [f"left behind: {thing}" for thing in met.left_behind]
        if met.verdict != "verified":
            misses.append(f"verdict {met.verdict}: {met.cause}")
        if f"host={address[DRILL]}" in log:
            misses.append("the copy connected to the publisher")
        if f"host={address[PRIMARY]}" not in log:
            misses.append("the source's own subscription never connected, so nothing was shown")
        ground.sql("ALTER SUBSCRIPTION prices DISABLE;\nALTER SUBSCRIPTION prices SET (slot_name = NONE)")
        ground.sql("DROP SUBSCRIPTION prices;\nDROP PUBLICATION every_price")
        ground.sql("SELECT pg_drop_replication_slot('of_production')")
        checks = [check["name"] for check in met.predicate["checks"] if check["name"] == "isolation"]
        return Caught(self.name, checks, met.verdict, "isolated", time.monotonic() - begun, misses)


FAULTS.append(Subscription())
