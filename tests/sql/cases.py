"""What the snapshots are of: small schemas as DDL, and requests that bring out one shape of statement each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SHOP = """
CREATE TABLE customer (id int PRIMARY KEY, store int);
CREATE TABLE rental (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer, day date);
CREATE TABLE payment (id int PRIMARY KEY, customer int REFERENCES customer, rental int REFERENCES rental);
"""
STAFF = """
CREATE TABLE department (id int PRIMARY KEY, name text);
CREATE TABLE employee (id int PRIMARY KEY, department int REFERENCES department, manager int REFERENCES employee);
"""
TEAMS = """
CREATE TABLE league (id int PRIMARY KEY);
CREATE TABLE team (id int PRIMARY KEY, league int REFERENCES league, captain int);
CREATE TABLE player (id bigint PRIMARY KEY, team int NOT NULL REFERENCES team, age int);
ALTER TABLE team ADD FOREIGN KEY (captain) REFERENCES player;
CREATE TABLE goal (id int PRIMARY KEY, player bigint REFERENCES player);
"""


@dataclass(frozen=True)
class Case:
    """One snapshot.

    Attributes:
        extracts: tables whose SELECTs are shown; none for every table that has one.
        close, drop: components (by one of their tables) whose references are settled, as the target is asked.
    """

    name: str
    ddl: str
    request: dict[str, Any]
    extracts: tuple[str, ...] = ()
    close: str = ""
    drop: str = ""


CASES = [
    Case("single_filter", SHOP, {"filters": {"customer": "store = 1"}, "others": "skip"}, ("customer",)),
    Case("whole_table", STAFF, {}, ("employee",)),
    Case(
        "chain",
        """
        CREATE TABLE a (id int PRIMARY KEY, x text);
        CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
        CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b);
        CREATE TABLE d (id int PRIMARY KEY, c int REFERENCES c);
        """,
        {"filters": {"a": "x LIKE 'y%' -- all of them"}},
        ("d",),
    ),
    Case("two_paths", SHOP, {"filters": {"customer": "store = 1"}}, ("payment",)),
    Case(
        "two_filters",
        SHOP,
        {"filters": {"customer": "store = 1", "rental": "day >= '2022-07-01'"}},
        ("rental", "payment"),
    ),
    Case(
        "many_paths",
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE);"
        + f"CREATE TABLE c (id int PRIMARY KEY, {', '.join(f'p{n} int REFERENCES p' for n in range(6))},"
        " code text REFERENCES p (code), words text);",
        {"filters": {"p": "id = 1", "c": "words <> ''"}},
        ("c",),
    ),
    Case("self_reference", STAFF, {"filters": {"department": "id = 3"}}, ("employee",)),
    Case("own_filter_in_a_self_reference", STAFF, {"filters": {"employee": "id = 7"}}, ("employee",)),
    Case("two_table_cycle", TEAMS, {"filters": {"team": "id = 1"}}, ("team", "player")),
    Case("cycle_below_a_filter", TEAMS, {"filters": {"league": "id = 1", "player": "age > 20"}}, ("team", "player")),
    Case("table_below_a_cycle", TEAMS, {"filters": {"league": "id = 1"}}, ("goal",)),
    Case(
        "odd_names",
        """
        CREATE SCHEMA "Odd %s :x";
        CREATE TABLE "Odd %s :x"."it's ""here"" 日本" ("select" int PRIMARY KEY, "a%b:c" text);
        CREATE TABLE "Odd %s :x".collation ("Up" int PRIMARY KEY, "to.it" int REFERENCES
            "Odd %s :x"."it's ""here"" 日本", "order" int REFERENCES "Odd %s :x".collation);
        """,
        {"schemas": ("Odd %s :x",), "filters": {'it\'s "here" 日本': "\"a%b:c\" LIKE ':x%' AND 'it''s' <> '\\'"}},
        (),
    ),
    Case(
        "composite_key",
        """
        CREATE TABLE seat (hall int, number int, PRIMARY KEY (hall, number));
        CREATE TABLE ticket (id int PRIMARY KEY, n int, h int, FOREIGN KEY (n, h) REFERENCES seat (number, hall));
        """,
        {"filters": {"seat": "hall = 1"}},
        ("ticket",),
    ),
    Case(
        "virtual_key",
        "CREATE TABLE p (id int PRIMARY KEY, code varchar(5) UNIQUE); CREATE TABLE c (id int PRIMARY KEY, code text);",
        {"filters": {"p": "id = 1"}, "relations": {"c.code": {"to": "p.code"}}},
        ("c",),
        close="p",
    ),
    Case(
        "polymorphic_key",
        """
        CREATE TABLE issue (id int PRIMARY KEY); CREATE TABLE merge (id int PRIMARY KEY);
        CREATE TABLE note (id int PRIMARY KEY, on_type text, on_id int);
        """,
        {
            "filters": {"issue": "id = 1", "merge": "id = 2"},
            "relations": {"note.on_id": {"type": "on_type", "to": {"Issue": "issue", "Merge's": "merge"}}},
        },
        ("note",),
        close="issue",
    ),
    Case("sample_by_count", SHOP, {"sample": {"customer": 100}, "filters": {"customer": "store = 1"}}, ("customer",)),
    Case("sample_by_percent", SHOP, {"sample": {"customer": "2.5%"}, "seed": 7}, ("customer", "rental")),
    Case(
        "sample_by_composite_key",
        "CREATE TABLE t (a int, b text, PRIMARY KEY (b, a));",
        {"sample": {"t": "5%"}},
    ),
    Case(
        "no_identity_in_a_cycle",
        """
        CREATE TABLE top (id int PRIMARY KEY);
        CREATE TABLE node (id int UNIQUE, up int REFERENCES node (id), top int REFERENCES top, words text);
        """,
        {"filters": {"top": "id = 1", "node": "words <> ''"}},
        ("node",),
    ),
    Case(
        "inherited_table",
        """
        CREATE TABLE place (id int PRIMARY KEY);
        CREATE TABLE plant (id int PRIMARY KEY, place int REFERENCES place, up int REFERENCES plant);
        CREATE TABLE tree (height int) INHERITS (plant);
        """,
        {"filters": {"place": "id = 1"}, "references": "drop"},
        ("plant", "tree"),
        drop="plant",
    ),
    Case("references_of_a_plain_table", SHOP, {"filters": {"customer": "store = 1"}}, ("customer",), close="rental"),
    Case("references_upwards", TEAMS, {"filters": {"goal": "id = 1"}, "others": "referenced"}, ("goal",), close="team"),
    Case("drop_walk", STAFF, {"filters": {"employee": "id > 7"}, "references": "drop"}, ("employee",), drop="employee"),
    Case(
        "drop_walk_through_two_tables",
        TEAMS,
        {"filters": {"player": "age > 20"}, "others": "skip", "references": "drop"},
        ("team",),
        drop="team",
    ),
]
