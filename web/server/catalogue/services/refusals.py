"""The library's errors as refusals of the service."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from latenthash.errors import DataError, ImageError, LatentHashError

from ..errors import Problem, invalid

logger = logging.getLogger(__name__)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn the library's errors into refusals; what the operator must mend is a 503."""
    try:
        yield
    except ImageError as error:
        raise Problem(415, "not_an_image", f"{error.problem} - {_FORMATS}") from error
    except DataError as error:
        raise invalid(str(error)) from error
    except LatentHashError as error:
        logger.exception("the index or the network cannot be used")
        raise Problem(503, "unavailable", f"{type(error).__name__} - see the log") from error


_FORMATS = "send a JPEG, PNG, GIF, WebP, BMP, TIFF or PNM picture"
