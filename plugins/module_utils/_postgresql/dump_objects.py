# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns what and who may do what, by names: after a dump is loaded elsewhere every oid is another one.

A list of privileges that is empty stands for the default ones, and is written out, so that both ways of saying the same
are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Privileges are [grantee, privilege, grantable]; the grantee "" is everybody.
Entry = dict[str, Any]

_ACL = """
(SELECT coalesce(json_agg(json_build_array(x.who, x.what, x.may_grant) ORDER BY x.who, x.what), '[]')
   FROM (SELECT CASE e.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(e.grantee)::text END AS who,
                e.privilege_type AS what, bool_or(e.is_grantable) AS may_grant
           FROM pg_catalog.aclexplode({}) e GROUP BY 1, 2) x)
"""
_NO_ACL = "'[]'::json"
_OF_EXTENSION = """
EXISTS (SELECT FROM pg_catalog.pg_depend d
         WHERE d.classid = 'pg_catalog.{catalogue}'::regclass AND d.objid = o.oid AND d.deptype = 'e')
"""


def _part(catalogue: str, owner: str, acl: str = "", where: str = "o.oid >= 16384") -> str:
    """A query for (type, identity, schema, owner, privileges) of one catalogue's objects that no extension brings."""
    privileges = _ACL.format(acl) if acl else _NO_ACL
    return f"""
SELECT i.type, i.identity, i.schema, pg_catalog.pg_get_userbyid({owner})::text, {privileges}
  FROM pg_catalog.{catalogue} o,
       LATERAL pg_catalog.pg_identify_object('pg_catalog.{catalogue}'::regclass, o.oid, 0) i
 WHERE {where} AND NOT {_OF_EXTENSION.format(catalogue=catalogue)}
"""  # noqa: S608 - constants of this file only


def _default(column: str, kind: str, owner: str) -> str:
    return f"coalesce(o.{column}, pg_catalog.acldefault({kind}, o.{owner}))"


_LOCAL = (
    _part(
        "pg_class",
        "o.relowner",
        _default("relacl", "CASE o.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\"", "relowner"),
        "o.oid >= 16384 AND o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND o.relpersistence <> 't'",
    ),
    f"""
SELECT i.type, i.identity, i.schema, pg_catalog.pg_get_userbyid(o.relowner)::text, {_ACL.format("a.attacl")}
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class o ON o.oid = a.attrelid,
       LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_class'::regclass, o.oid, a.attnum) i
 WHERE a.attacl IS NOT NULL AND o.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
   AND NOT {_OF_EXTENSION.format(catalogue="pg_class")}
""",  # noqa: S608 - constants of this file only
    _part(
        "pg_namespace",
        "o.nspowner",
        _default("nspacl", "'n'", "nspowner"),
        "(o.oid >= 16384 OR o.nspname = 'public') AND o.nspname !~ '^pg_(toast|temp)'",
    ),
    _part("pg_proc", "o.proowner", _default("proacl", "'f'", "proowner")),
    _part(
        "pg_type",
        "o.typowner",
        _default("typacl", "'T'", "typowner"),
        "o.oid >= 16384 AND o.typtype IN ('b', 'c', 'd', 'e', 'r') AND o.typcategory <> 'A' AND (o.typrelid = 0 OR "
        "(SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = o.typrelid) = 'c')",
    ),
    _part("pg_language", "o.lanowner", _default("lanacl", "'l'", "lanowner")),
    _part("pg_foreign_data_wrapper", "o.fdwowner", _default("fdwacl", "'F'", "fdwowner")),
    _part("pg_foreign_server", "o.srvowner", _default("srvacl", "'S'", "srvowner")),
    # Their catalogue has no oid of its own name for identify: the class is that of their pages.
    f"""
SELECT 'large object', o.oid::text, NULL, pg_catalog.pg_get_userbyid(o.lomowner)::text,
       {_ACL.format(_default("lomacl", "'L'", "lomowner"))}
  FROM pg_catalog.pg_largeobject_metadata o
""",  # noqa: S608 - constants of this file only
    f"""
SELECT i.type, i.identity, i.schema, pg_catalog.pg_get_userbyid(o.defaclrole)::text, {_ACL.format("o.defaclacl")}
  FROM pg_catalog.pg_default_acl o,
       LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_default_acl'::regclass, o.oid, 0) i
""",  # noqa: S608 - constants of this file only
    _part("pg_operator", "o.oprowner"),
    _part("pg_opclass", "o.opcowner"),
    _part("pg_opfamily", "o.opfowner"),
    _part("pg_collation", "o.collowner"),
    _part("pg_conversion", "o.conowner"),
    _part("pg_ts_dict", "o.dictowner"),
    _part("pg_ts_config", "o.cfgowner"),
    _part("pg_statistic_ext", "o.stxowner"),
    _part("pg_publication", "o.pubowner"),
    _part("pg_event_trigger", "o.evtowner"),
)

# What a setting holds may be a secret of an application; so its digest stands for it.
_SETTINGS = """
(SELECT coalesce(json_agg(json_build_array(w.who || pg_catalog.split_part(s, '=', 1), pg_catalog.md5(s))
                          ORDER BY w.who, s), '[]')
   FROM pg_catalog.pg_db_role_setting r, pg_catalog.unnest(r.setconfig) s,
        LATERAL (SELECT CASE WHEN r.setdatabase = 0 OR r.setrole = 0 THEN ''
                             ELSE 'of ' || pg_catalog.pg_get_userbyid(r.setrole) || ' ' END AS who) w
  WHERE {})
"""
_DATABASES = f"""
SELECT o.datname, pg_catalog.pg_get_userbyid(o.datdba)::text, {_ACL.format(_default("datacl", "'d'", "datdba"))},
       json_build_object('encoding', pg_catalog.pg_encoding_to_char(o.encoding), 'collate', o.datcollate,
                         'ctype', o.datctype, 'provider', coalesce(to_jsonb(o)->>'datlocprovider', 'c'),
                         'locale', coalesce(to_jsonb(o)->>'datlocale', to_jsonb(o)->>'daticulocale'),
                         'icu_rules', to_jsonb(o)->>'daticurules',
                         'connection_limit', o.datconnlimit, 'template', o.datistemplate),
       {_SETTINGS.format("r.setdatabase = o.oid")}
  FROM pg_catalog.pg_database o WHERE o.datallowconn ORDER BY 1
"""  # noqa: S608 - constants of this file only
_ROLES = f"""
SELECT o.rolname, json_build_object(
           'superuser', o.rolsuper, 'inherit', o.rolinherit, 'createrole', o.rolcreaterole, 'createdb', o.rolcreatedb,
           'login', o.rolcanlogin, 'replication', o.rolreplication, 'bypassrls', o.rolbypassrls,
           'connection_limit', o.rolconnlimit, 'valid_until', o.rolvaliduntil::text),
       {_SETTINGS.format("r.setrole = o.oid AND r.setdatabase = 0")}
  FROM pg_catalog.pg_roles o WHERE o.rolname !~ '^pg_' ORDER BY 1
"""  # noqa: S608 - constants of this file only
_MEMBERS = """
SELECT pg_catalog.pg_get_userbyid(m.member)::text, pg_catalog.pg_get_userbyid(m.roleid)::text,
       bool_or(m.admin_option), coalesce(bool_or((to_jsonb(m)->>'inherit_option')::bool), true),
       coalesce(bool_or((to_jsonb(m)->>'set_option')::bool), true)
  FROM pg_catalog.pg_auth_members m
 WHERE NOT (m.member < 16384 AND m.roleid < 16384) GROUP BY 1, 2 ORDER BY 1, 2
"""
_TABLESPACES = f"""
SELECT o.spcname, pg_catalog.pg_get_userbyid(o.spcowner)::text, {_ACL.format(_default("spcacl", "'t'", "spcowner"))},
       coalesce(o.spcoptions::text, ''), pg_catalog.pg_tablespace_location(o.oid)
  FROM pg_catalog.pg_tablespace o WHERE o.oid >= 16384 ORDER BY 1
"""  # noqa: S608 - constants of this file only


def local_objects(connection: Any) -> dict[str, Entry]:
    """Every object of a database by its type and name: its owner and its privileges."""
    found: dict[str, Entry] = {}
    for query in _LOCAL:
        for kind, identity, schema, owner, acl in connection.execute(query):
            one = {"kind": kind, "identity": identity, "schema": schema, "owner": owner, "acl": acl}
            found[f"{kind} {identity}"] = one
    return found


def databases(connection: Any) -> dict[str, Entry]:
    """Every database that takes connections: owner, privileges, properties, settings."""
    names = ("owner", "acl", "properties", "settings")
    return {name: dict(zip(names, rest)) for name, *rest in connection.execute(_DATABASES)}


def roles(connection: Any) -> dict[str, Entry]:
    """Every role that is not the engine's own."""
    return {name: {"attributes": said, "settings": own} for name, said, own in connection.execute(_ROLES)}


def members(connection: Any) -> list[list[Any]]:
    """Who is a member of which role, with which options."""
    return [list(row) for row in connection.execute(_MEMBERS)]


def tablespaces(connection: Any) -> dict[str, Entry]:
    """Every tablespace of the users' own; only its place may differ elsewhere."""
    names = ("owner", "acl", "options", "location")
    return {name: dict(zip(names, rest)) for name, *rest in connection.execute(_TABLESPACES)}


def unlike(was: Mapping[str, Entry], now: Mapping[str, Entry], *what: str) -> list[str]:
    """What differs in these parts of the entries, one line each."""
    lines = []
    for name, entry in was.items():
        found = now.get(name)
        if found is None:
            lines.append(f"{name} is missing")
            continue
        for part in what:
            if found[part] != entry[part]:
                lines.append(f"{name}: {_how(part, entry[part], found[part])}")
    return lines


def _how(part: str, was: Any, now: Any) -> str:
    if part == "owner":
        return f"its owner is {now}, was {was}"
    if part == "acl":
        return f"its privileges are {readable(now)}, were {readable(was)}"
    if part == "settings":
        names = sorted({one[0] for one in was if one not in now} | {one[0] for one in now if one not in was})
        return f"it differs in the setting {', '.join(names)}"
    if isinstance(was, dict):
        return f"it differs in {', '.join(sorted(key for key in was if now.get(key) != was[key]))}"
    return f"its {part} differs"


def readable(acl: list[list[Any]]) -> str:
    """Privileges for a person."""
    by: dict[str, list[str]] = {}
    for who, privilege, grantable in acl:
        by.setdefault(who or "PUBLIC", []).append(privilege + ("*" if grantable else ""))
    return " ".join(f"{who}={','.join(privileges)}" for who, privileges in by.items()) or "none"
