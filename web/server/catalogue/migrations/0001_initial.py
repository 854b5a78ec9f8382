"""Tables of the first version."""

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    """Images, verdicts, the generation that is shown."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Image",
            fields=[
                (
                    "number",
                    models.BigIntegerField(db_column="intID", primary_key=True, serialize=False),
                ),
                ("name", models.TextField(db_column="image_name")),
                ("label", models.IntegerField(db_index=True, null=True)),
                ("label_name", models.TextField(default="")),
                ("hashcode", models.CharField(max_length=1024)),
                ("in_library", models.BooleanField(db_column="isInDatabase", default=True)),
                ("content", models.CharField(db_index=True, max_length=64)),
                ("width", models.IntegerField(null=True)),
                ("height", models.IntegerField(null=True)),
                ("size", models.BigIntegerField(null=True)),
                ("added", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="State",
            fields=[
                ("key", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("checksum", models.CharField(max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name="Feedback",
            fields=[
                ("key", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("query", models.CharField(max_length=80)),
                ("hit", models.BigIntegerField(db_index=True)),
                ("verdict", models.SmallIntegerField()),
                ("given", models.DateTimeField(auto_now=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("query", "hit"), name="one_verdict_per_hit")
                ],
            },
        ),
    )
