"""What a script said is never changed; output is compressed by us, so that the database need not try."""

from django.db import migrations

REFUSE = """
CREATE OR REPLACE FUNCTION mist_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(OLD) - 'created_by_id') IS DISTINCT FROM (to_jsonb(NEW) - 'created_by_id') THEN
        RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER never_changed BEFORE UPDATE ON scripts_scriptversion FOR EACH ROW EXECUTE FUNCTION mist_refuse_change();
CREATE TRIGGER never_changed BEFORE UPDATE ON scripts_chunk FOR EACH ROW EXECUTE FUNCTION mist_refuse_change();
ALTER TABLE scripts_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
"""
UNDO = """
DROP TRIGGER never_changed ON scripts_scriptversion;
DROP TRIGGER never_changed ON scripts_chunk;
DROP FUNCTION mist_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("scripts", "0001_scripts_and_runs")]
    operations = [migrations.RunSQL(REFUSE, UNDO)]
