"""Rows as they were: a trigger keeps each version, `as_of` reads them through the table's own shape.

`jsonb_populate_record` turns a kept version back into a row of the table, so that filters, searches, ordering and
policies written for the table work unchanged on the past. A column added since is null there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from django.db import connection, models
from django.db.models.sql.datastructures import BaseTable

QS = TypeVar("QS", bound="models.QuerySet[Any]")

# Noise: a change of these alone makes no version.
QUIET = ("updated_at", "fingerprint", "last_seen_at")

FUNCTION = """
CREATE OR REPLACE FUNCTION mist_keep_revision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE quiet text[] := ARRAY['updated_at', 'fingerprint', 'last_seen_at'];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- `probe`: what a host answered just now (milliseconds, uptime, load) is a measurement, not a version
        IF (to_jsonb(OLD) - quiet) #- '{extra,probe}' = (to_jsonb(NEW) - quiet) #- '{extra,probe}' THEN RETURN NULL; END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE core_revision SET to_at = now() WHERE row_id = OLD.id AND to_at IS NULL AND "table" = TG_TABLE_NAME;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO core_revision ("table", row_id, org_id, from_at, "row")
        VALUES (TG_TABLE_NAME, NEW.id, NEW.org_id, now(), to_jsonb(NEW));
    END IF;
    RETURN NULL;
END $$;
"""


def trigger_sql(table: str) -> str:
    """The statement that makes `table` keep its versions. For migrations."""
    return (
        f'CREATE OR REPLACE TRIGGER mist_history AFTER INSERT OR UPDATE OR DELETE ON "{table}" '
        "FOR EACH ROW EXECUTE FUNCTION mist_keep_revision();"
    )


class _PastTable(BaseTable):
    """Stands where the table stood in FROM: the versions that held at `when`, in the table's shape."""

    def __init__(self, table_name: str, alias: str, when: datetime) -> None:
        super().__init__(table_name, alias)
        self.when = when

    def as_sql(self, compiler: Any, conn: Any) -> Any:
        quote = conn.ops.quote_name
        sql = (
            f'(SELECT past.* FROM core_revision r, jsonb_populate_record(NULL::{quote(self.table_name)}, r."row") past '  # noqa: S608 - the names are the model's own, quoted
            f'WHERE r."table" = %s AND r.from_at <= %s AND (r.to_at IS NULL OR r.to_at > %s)) {quote(self.table_alias)}'
        )
        return sql, [self.table_name, self.when, self.when]

    def relabeled_clone(self, change_map: dict[Any, str]) -> _PastTable:
        alias = str(self.table_alias)
        return type(self)(self.table_name, change_map.get(alias, alias), self.when)

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.__class__, self.table_name, self.table_alias, self.when)


def as_of(queryset: QS, when: datetime) -> QS:
    """The queryset over the rows as they were at `when`. Call it first, before filters that join.

    Rows of other tables reached by joins (a cloud's name) are today's.
    """
    clone = queryset.all()
    query = clone.query
    alias = query.get_initial_alias()
    query.alias_map[alias] = _PastTable(queryset.model._meta.db_table, alias, when)
    return clone


def tables() -> Iterable[str]:
    """The tables that keep history now, as the database has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = 'mist_history'")
        return sorted(row[0] for row in cursor.fetchall())
