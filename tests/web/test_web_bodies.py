"""Bodies that are whole, and bodies that end too soon."""

from __future__ import annotations

import io

import pytest

from latenthash_web.bodies import WholeBody, whole_bodies


def test_a_whole_body_is_read_as_it_is() -> None:
    body = WholeBody(io.BytesIO(b"a line\nand more"), 15)
    assert body.readline() == b"a line\n"
    assert body.read(3) == b"and"
    assert body.read() == b" more"
    assert body.read() == b""
    assert WholeBody(io.BytesIO(b""), 0).read() == b""


@pytest.mark.parametrize("way", ["read", "readline"])
def test_an_early_end_is_an_error_and_an_empty_read_is_none(way: str) -> None:
    body = WholeBody(io.BytesIO(b"four"), 9)
    read = getattr(body, way)
    assert read(0) == b""
    assert read() == b"four"
    with pytest.raises(OSError, match="5 bytes too soon"):
        read()


@pytest.mark.parametrize("length", [None, "", "nonsense", "-1"])
def test_a_body_of_no_known_length_is_left_to_the_application(length: str | None) -> None:
    environ = {"wsgi.input": io.BytesIO(b""), "CONTENT_LENGTH": length}
    application = whole_bodies(lambda environ, start: [environ["wsgi.input"].read()])
    assert list(application(environ, None)) == [b""]
