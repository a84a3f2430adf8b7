"""Checkpoints of the audit log's chains, persons' keys, a log that only grows."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import core.models

APPEND_ONLY = """
CREATE FUNCTION mist_event_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- Sealing, once: a place in the chain and nothing else.
        IF OLD.sequence IS NULL AND NEW.sequence IS NOT NULL AND NEW.hash IS NOT NULL
            AND (OLD.id, OLD.org_id, OLD.at, OLD.type, OLD.actor_id, OLD.via, OLD.request_id, OLD.target_kind, OLD.target_id,
                 OLD.target_name, OLD.target_tags, OLD.cloud_id, OLD.job_id, OLD.before, OLD.after, OLD.detail, OLD.personal, OLD.digest)
            IS NOT DISTINCT FROM
                (NEW.id, NEW.org_id, NEW.at, NEW.type, NEW.actor_id, NEW.via, NEW.request_id, NEW.target_kind, NEW.target_id,
                 NEW.target_name, NEW.target_tags, NEW.cloud_id, NEW.job_id, NEW.before, NEW.after, NEW.detail, NEW.personal, NEW.digest)
        THEN RETURN NEW; END IF;
    ELSIF current_setting('mist.retention', true) = 'on' THEN
        RETURN CASE TG_LEVEL WHEN 'ROW' THEN OLD END;
    END IF;
    RAISE EXCEPTION 'The audit log is only ever appended to.' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON core_event FOR EACH ROW EXECUTE FUNCTION mist_event_append_only();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON core_event FOR EACH STATEMENT EXECUTE FUNCTION mist_event_append_only();
"""

# Makes a month's partition and moves into it what the default one holds of it. A transaction that has set mist.retention only.
MONTH = """
CREATE FUNCTION mist_event_month(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    starts timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    ends timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    name text := 'core_event_' || to_char(month, 'YYYY_MM');
    columns text;
BEGIN
    IF to_regclass(name) IS NOT NULL THEN RETURN; END IF;
    LOCK TABLE core_event IN SHARE UPDATE EXCLUSIVE MODE;
    LOCK TABLE core_event_other IN ACCESS EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM core_event_other WHERE at >= starts AND at < ends) THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF core_event FOR VALUES FROM (%L) TO (%L)', name, starts, ends);
        RETURN;
    END IF;
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
        WHERE attrelid = 'core_event'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('CREATE TABLE %I (LIKE core_event INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)', name);
    EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM core_event_other WHERE at >= %L AND at < %L', name, columns, columns, starts, ends);
    DELETE FROM core_event_other WHERE at >= starts AND at < ends;
    EXECUTE format('ALTER TABLE core_event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, starts, ends);
END $$;
"""

class Migration(migrations.Migration):
    dependencies = [("core", "0002_events_and_history")]

    operations = [
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                ("id", models.UUIDField(default=core.models.new_id, editable=False, primary_key=True, serialize=False)),
                ("org_id", models.UUIDField(null=True)),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("previous", models.BinaryField()),
                ("hash", models.BinaryField()),
                ("sealed_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("signature", models.BinaryField()),
                ("dropped_at", models.DateTimeField(null=True)),
                ("dropped_signature", models.BinaryField(null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["sealed_at"], name="checkpoint_sealed")],
                "constraints": [
                    models.UniqueConstraint(fields=("org_id", "last"), name="one_checkpoint_a_place", nulls_distinct=False)
                ],
            },
        ),
        migrations.CreateModel(
            name="PersonKey",
            fields=[
                ("id", models.UUIDField(default=core.models.new_id, editable=False, primary_key=True, serialize=False)),
                ("lookup", models.BinaryField(db_index=True)),
                ("user_id", models.UUIDField(db_index=True, null=True)),
                ("email_hash", models.BinaryField(db_index=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "vault",
                    models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="core.vaultentry"),
                ),
            ],
        ),
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER append_only ON core_event; DROP TRIGGER no_truncate ON core_event; DROP FUNCTION mist_event_append_only();",
        ),
        migrations.RunSQL(MONTH, "DROP FUNCTION mist_event_month(date)"),
    ]
