"""Answers kept for `Idempotency-Key` are encrypted. Those that are there lived a day at most: they go."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0003_audit_chain")]

    operations = [
        migrations.RunSQL("DELETE FROM core_idempotencykey", migrations.RunSQL.noop),
        migrations.RemoveField(model_name="idempotencykey", name="answer"),
        migrations.AddField(model_name="idempotencykey", name="answer", field=models.BinaryField(null=True)),
        migrations.AddField(model_name="idempotencykey", name="request_id", field=models.CharField(default="", max_length=64)),
    ]
