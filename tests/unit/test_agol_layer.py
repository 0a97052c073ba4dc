"""How edits are written into a request's body."""

from __future__ import annotations

from urllib.parse import quote_plus

from hypothesis import example, given
from hypothesis import strategies as st

from services.utils.agol.layer import count_encoded, encode_edit


@given(st.binary(max_size=200))
@example(bytes(range(256)))
@example(b"100% + 1 & %2B = ~.-_")
@example('{"name":"Größe 100 %"}'.encode())
def test_encode_edit__equals_urllib(body: bytes) -> None:
    """Whatever the bytes are, they are written as urllib writes a form's value, and counted beforehand."""
    assert encode_edit(body) == quote_plus(body)
    assert count_encoded(body) == len(quote_plus(body))
