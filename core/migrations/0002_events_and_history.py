"""The audit log's table, partitioned by month; the function that keeps versions of rows."""

from django.db import migrations

from core.history import FUNCTION  # its text is versioned with the code: a later change comes with a migration of its own

EVENTS = """
CREATE TABLE core_event (
    id uuid NOT NULL,
    org_id uuid,
    sequence bigint,
    at timestamptz NOT NULL,
    type varchar(120) NOT NULL,
    actor_id uuid,
    via varchar(80) NOT NULL,
    request_id varchar(64) NOT NULL,
    target_kind varchar(50) NOT NULL,
    target_id uuid,
    target_name varchar(255) NOT NULL,
    target_tags jsonb NOT NULL,
    cloud_id uuid,
    job_id uuid,
    before jsonb,
    after jsonb,
    detail jsonb NOT NULL,
    personal bytea,
    digest bytea NOT NULL,
    hash bytea,
    search tsvector GENERATED ALWAYS AS (
        to_tsvector('simple', replace(type, '.', ' ') || ' ' || target_name || ' ' || left(detail::text, 10000))
    ) STORED,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX core_event_newest ON core_event (org_id, at DESC, id DESC);
CREATE INDEX core_event_target ON core_event (target_id, at DESC);
CREATE INDEX core_event_request ON core_event (request_id);
CREATE INDEX core_event_job ON core_event (job_id);
CREATE INDEX core_event_id ON core_event (id);
CREATE INDEX core_event_unsealed ON core_event (org_id, at, id) WHERE sequence IS NULL;
CREATE INDEX core_event_chain ON core_event (org_id, sequence);
CREATE INDEX core_event_words ON core_event USING gin (search);

CREATE FUNCTION mist_event_partition(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', month);
    name text := 'core_event_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF core_event FOR VALUES FROM (%L) TO (%L)', name,
            first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00');
    END IF;
END $$;
SELECT mist_event_partition((now() + make_interval(months => n))::date) FROM generate_series(-1, 3) n;
CREATE TABLE core_event_other PARTITION OF core_event DEFAULT;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    operations = [
        migrations.RunSQL(EVENTS, "DROP TABLE core_event; DROP FUNCTION mist_event_partition(date)"),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION mist_keep_revision() CASCADE"),
    ]
