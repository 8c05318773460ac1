"""`dismiss` calls findings right; `audit` leaves them out until they are taken back."""

import json
import shutil

from tests.helpers.command_line import OFFLINE, run


def test_a_dismissed_finding_is_left_out_until_it_is_taken_back(editable):
    """It is listed under the id that its image has now."""

    def edit(*arguments, code=0):
        return run(*arguments, "--config", OFFLINE, cwd=editable, code=code).stdout

    def copies():
        edit("audit", "--json", "audit.json")
        audit = json.loads((editable / "audit.json").read_text())
        return [group["paths"] for group in audit["duplicates"]], audit["dismissed"]

    shutil.copy(editable / "dataset/stripes/00.png", editable / "dataset/gingham/twin.png")
    edit("sync")
    twins = ["gingham/twin.png", "stripes/00.png"]
    assert copies() == ([twins], 0)
    assert "1 findings dismissed" in edit("dismiss", *twins, "--finding", "duplicates")
    assert copies() == ([], 1)
    assert "dismissed findings" in edit("audit")
    (editable / "dataset/stripes/00.png").rename(editable / "dataset/stripes/moved.png")
    edit("sync")
    assert copies() == ([], 1)
    assert "gingham/twin.png = stripes/moved.png (gingham)" in edit("dismiss", "--list")
    assert len(json.loads(edit("dismiss", "--list", "--json"))) == 1
    edit("relabel", "gingham/twin.png", "--to", "tartan")
    assert copies() == ([["gingham/twin.png", "stripes/moved.png"]], 0)
    edit("undo")
    assert copies() == ([], 1)
    assert "1 dismissals taken back" in edit("dismiss", "stripes/moved.png", "--finding", "duplicates", "--restore")
    assert copies()[1] == 0
    assert edit("dismiss", "--list") == "nothing was dismissed\n"
    edit("dismiss", code=1)
