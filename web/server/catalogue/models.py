"""What the database keeps: the catalogue of images, and what people said of hits.

Columns have the names of the thesis where it names them. Features stay in the index,
which is what searches; the database is never asked for neighbours.
"""

from __future__ import annotations

import uuid

from django.db import models


class Image(models.Model):
    """One image.

    Attributes:
        number: its id in the index, in the order of arrival.
        name: to show; names of files outside the index's folder are shortened.
        label: number of its class; null where unknown.
        hashcode: its code, 0 and 1.
        in_library: false once it was removed.
        content: SHA-256 of the file, hexadecimal; "" where unknown.
        size: bytes of the file; null until it was looked at, as width and height.
    """

    number = models.BigIntegerField(primary_key=True, db_column="intID")
    name = models.TextField(db_column="image_name")
    label = models.IntegerField(null=True, db_index=True)
    label_name = models.TextField(default="")
    hashcode = models.CharField(max_length=1024)
    in_library = models.BooleanField(default=True, db_column="isInDatabase")
    content = models.CharField(max_length=64, db_index=True)
    width = models.IntegerField(null=True)
    height = models.IntegerField(null=True)
    size = models.BigIntegerField(null=True)
    added = models.DateTimeField(auto_now_add=True)


class Feedback(models.Model):
    """A thumb up (1) or down (-1) for a hit.

    Attributes:
        query: "id:7", or "sha256:…" of an uploaded picture.
        hit: number of the image.
    """

    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    query = models.CharField(max_length=80)
    hit = models.BigIntegerField(db_index=True)
    verdict = models.SmallIntegerField()
    given = models.DateTimeField(auto_now=True)

    class Meta:
        """One verdict for a query and a hit."""

        constraints = (
            models.UniqueConstraint(fields=("query", "hit"), name="one_verdict_per_hit"),
        )


class State(models.Model):
    """Which generation of the index the catalogue shows."""

    key = models.CharField(primary_key=True, max_length=20)
    checksum = models.CharField(max_length=64)
