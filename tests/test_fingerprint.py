import hashlib
import json

import pytest

from toolkit.fingerprint import Fingerprint

PARTS = {"model": "m", "dtype": "float32", "device": {"kind": "cpu", "threads": 2}}


def test_equal_components_give_an_equal_id_in_any_order_and_on_any_machine():
    again = Fingerprint(dict(reversed(PARTS.items())), notes={"path": "elsewhere"})
    assert Fingerprint(PARTS) == again
    written = '{"device":{"kind":"cpu","threads":2},"dtype":"float32","model":"m"}'
    assert str(again) == again.id == "fp_" + hashlib.blake2b(written.encode(), digest_size=5).hexdigest()


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", "n"), ("dtype", "bfloat16"), ("device", {"kind": "cpu", "threads": 1}), ("new", 1)],
)
def test_every_component_changes_the_id_and_is_named_by_diff(name, value):
    other = Fingerprint({**PARTS, name: value})
    assert other.id != Fingerprint(PARTS).id
    assert Fingerprint(PARTS).diff(other) == {name: (PARTS.get(name), value)}


def test_round_trip_through_json():
    first = Fingerprint(PARTS, {"note": 1})
    again = Fingerprint.from_json(json.loads(json.dumps(first.to_json())))
    assert again == first
    assert again.notes == first.notes


def test_shows_itself_escaped():
    assert "<b>" not in Fingerprint({"model": "<b>"})._repr_html_()
    assert "dtype" in repr(Fingerprint(PARTS))
