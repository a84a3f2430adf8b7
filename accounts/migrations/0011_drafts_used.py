# From which pages a draft was sent or discarded: what they still save is not kept.

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('core', '0007_counted_jobs'),
        ('accounts', '0010_searches_opened'),
    ]

    operations = [
        migrations.AddField(
            model_name='draft',
            name='used',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=32), default=list, size=None),
        ),
        migrations.AlterField(
            model_name='draft',
            name='vault',
            field=models.OneToOneField(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='core.vaultentry'),
        ),
    ]
