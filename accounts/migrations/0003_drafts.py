# Drafts of long forms: one a person, form and organization.

import core.models
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_invitations_tokens_views'),
        ('core', '0005_skipped_jobs'),
    ]

    operations = [
        migrations.CreateModel(
            name='Draft',
            fields=[
                ('id', models.UUIDField(default=core.models.new_id, editable=False, primary_key=True, serialize=False)),
                ('form', models.CharField(max_length=80)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('org', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('vault', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='core.vaultentry')),
            ],
            options={
                'indexes': [models.Index(fields=['updated_at'], name='draft_age')],
                'constraints': [models.UniqueConstraint(fields=('org', 'user', 'form'), name='one_draft_a_form')],
            },
        ),
    ]
