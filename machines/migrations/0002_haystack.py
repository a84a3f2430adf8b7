"""What a bare word looks in, as one text with a trigram index; and trigrams of the name, for `name:` and `name~`."""

import django.contrib.postgres.indexes
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models

# Pieces in lower case, U+001F before and after each: name, addresses, and each tag's key before its value.
FUNCTION = """
CREATE FUNCTION mist_haystack(name varchar, tags jsonb, public_ips varchar[], private_ips varchar[], address varchar) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    part text := chr(31);
    found text := part || name || part || address || part || array_to_string(public_ips || private_ips, part) || part;
    pairs text;
BEGIN
    IF jsonb_typeof(tags) = 'object' AND tags <> '{}'::jsonb THEN
        SELECT string_agg(key || part || coalesce(value, ''), part) INTO pairs FROM jsonb_each_text(tags);
        found := found || pairs || part;
    END IF;
    RETURN lower(found);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("machines", "0001_initial")]

    operations = [
        TrigramExtension(),
        # jsonb_path_ops, which it had, finds key and value together but no key alone.
        migrations.RemoveIndex(model_name="machine", name="machine_tags"),
        migrations.AddIndex(
            model_name="machine", index=django.contrib.postgres.indexes.GinIndex(fields=["tags"], name="machine_tags")
        ),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION mist_haystack(varchar, jsonb, varchar[], varchar[], varchar)"),
        migrations.AddField(
            model_name="machine",
            name="haystack",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Func(
                    "name", "tags", "public_ips", "private_ips", "address", function="mist_haystack", output_field=models.TextField()
                ),
                output_field=models.TextField(),
            ),
        ),
        migrations.AddIndex(
            model_name="machine",
            index=django.contrib.postgres.indexes.GinIndex(fields=["haystack"], name="machine_haystack", opclasses=["gin_trgm_ops"]),
        ),
        migrations.AddIndex(
            model_name="machine",
            index=django.contrib.postgres.indexes.GinIndex(fields=["name"], name="machine_name_trigrams", opclasses=["gin_trgm_ops"]),
        ),
    ]
