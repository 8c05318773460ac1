"""`relabel` corrects the label of examples, by id or all of a label."""

from tests.helpers.command_line import OFFLINE, run


def test_a_new_label_survives_a_sync(editable):
    """The file stays where it is."""
    done = run("relabel", "stripes/00.png", "--to", "gingham", "--config", OFFLINE, cwd=editable)
    assert "1 relabeled: stripes/00.png: stripes -> gingham" in done.stdout
    assert "16 unchanged" in run("sync", "--config", OFFLINE, cwd=editable).stdout
    done = run("relabel", "--label", "polka_dots", "--to", "dots", "--config", OFFLINE, cwd=editable)
    assert "4 relabeled" in done.stdout
