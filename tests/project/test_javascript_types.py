"""The scripts of the pages pass the strict check of the TypeScript compiler, by the types in their comments."""

import shutil
import subprocess

import pytest

from tests.helpers.paths import ROOT

STATIC = ROOT / "lmm_classifier/server/pages/static"
OPTIONS = ("--allowJs", "--checkJs", "--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom,dom.iterable")


def compiler():
    """Return the command of the compiler, None where it is not installed; nothing is downloaded."""
    if found := shutil.which("tsc"):
        return [found]
    npx = [shutil.which("npx"), "--no-install", "tsc"]
    if npx[0] is None:
        return None
    asked = subprocess.run([*npx, "--version"], check=False, capture_output=True, cwd=ROOT)
    return npx if asked.returncode == 0 else None


@pytest.mark.long
def test_types():
    """Scripts of others are left out."""
    command = compiler()
    if command is None:
        pytest.skip("tsc is not installed")
    scripts = sorted(str(file) for file in STATIC.glob("*.js") if ".min." not in file.name)
    assert len(scripts) > 8
    checked = subprocess.run([*command, *OPTIONS, *scripts], check=False, capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout
