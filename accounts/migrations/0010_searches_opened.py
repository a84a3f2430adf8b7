# When a long search was last opened: those nobody opens are dropped.

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0009_long_searches'),
    ]

    operations = [
        migrations.AddField(
            model_name='longsearch',
            name='opened_at',
            field=models.DateTimeField(db_index=True, default=django.utils.timezone.now),
        ),
    ]
