"""`doctor` says what is wrong with an index, and repairs what it can; its exit code says how bad it is."""

import json

from tests.helpers.command_line import run


def test_notes_and_damage_are_told_apart(editable):
    """A note gives 3, damage 1, a repaired index 0."""
    file = next((editable / "index" / "derived").glob("*.npy"))
    data = bytearray(file.read_bytes())
    data[300] ^= 1
    file.write_bytes(data)
    assert "note: " in run("doctor", cwd=editable, code=3).stdout
    assert "repaired: " in run("doctor", "--repair", cwd=editable).stdout
    assert json.loads(run("doctor", "index", "--json", cwd=editable).stdout) == []
    (editable / "index" / "index.sqlite").write_bytes(b"\0" * 40_000)
    text = run("doctor", cwd=editable, code=1).stdout
    assert "damage: " in text
    assert "The option --repair does a repair." in text
    assert "--repair" not in run("doctor", "--repair", cwd=editable, code=1).stdout
    assert "no index at nowhere" in run("doctor", "nowhere", cwd=editable, code=1).stderr
