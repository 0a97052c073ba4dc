"""How edits are written into a request's body."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote_plus

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from services.utils.agol.edits import Edit, _cut
from services.utils.agol.forms import encode_text

WHOLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WHOLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WHOLE, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@example({"name": "Größe 100 % + 1 & %2B = ~.-_; 🛴\x7f"})
@example("".join(map(chr, range(300))))
def test_encode_text__what_any_server_reads(value: object) -> None:
    """Whatever JSON says, reading a form that holds it gives the same bytes, and nothing beside them."""
    text = msgspec.json.encode(value)
    encoded = encode_text(text)
    read = parse_qsl((b"f=json&adds=" + encoded + b"&last=1").decode("ascii"), keep_blank_values=True)
    assert read == [("f", "json"), ("adds", text.decode()), ("last", "1")]
    # Nothing that some servers take for an end, or that does not travel: all is printed ASCII.
    assert not re.search(rb"[^!-~]|[&;=]", encoded)
    assert len(encoded) <= len(quote_plus(text))


def test_cut__chunks_keep_both_limits(monkeypatch) -> None:
    """Chunks hold no more edits and no more bytes, as they are sent, than is allowed; a single large one goes alone."""
    monkeypatch.setattr("services.utils.agol.edits.FEATURES_PER_EDIT", 4)
    monkeypatch.setattr("services.utils.agol.edits.BYTES_PER_EDIT", 100)
    # A "%" is sent as three signs.
    texts = [b"a", b"b", b"c", b"d", b"e", b"%" * 20, b"%" * 20, b"f", b"%" * 50, b"g"]
    chunks = list(_cut(Edit(str(n), str(n), text) for n, text in enumerate(texts)))
    assert [len(chunk) for chunk in chunks] == [4, 2, 2, 1, 1]
    assert [edit.body for chunk in chunks for edit in chunk] == texts
    assert [len(edit.form) for edit in chunks[1]] == [1, 60]
    deletes = list(_cut(Edit(str(n), str(n), oid=n) for n in (7, 12)))
    assert [edit.form for edit in deletes[0]] == [b"7", b"12"]
