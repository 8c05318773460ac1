"""Paths as people write them: `~`, hub names, misspelt names, and no home folder."""

from importlib import import_module
from pathlib import Path

import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.paths import (
    absolute,
    cache_folder,
    expand_home,
    home_is_known,
    looks_like_path,
    model_in,
    model_name,
    similar_names,
)


@pytest.fixture
def homeless(monkeypatch):
    """A process without HOME, whose user has no account, as in many containers."""

    def no_account(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_account)


def test_the_home_folder_is_expanded(monkeypatch):
    """At the beginning only; a file may be called `~notes` or `a~b`."""
    monkeypatch.setenv("HOME", "/elsewhere")
    assert expand_home("~/x") == Path("/elsewhere/x")
    assert expand_home("~") == Path("/elsewhere")
    for name in ("~notes.txt", "a/~/b", "a~b", "x"):
        assert expand_home(name) == Path(name)


@pytest.mark.usefixtures("homeless")
def test_an_unknown_home_folder_is_a_config_error_never_a_folder_of_that_name(monkeypatch):
    """Where the folder for caches is named, nothing needs the home folder."""
    assert not home_is_known()
    for use in (lambda: expand_home("~/x"), lambda: expand_home("~"), cache_folder):
        with pytest.raises(ConfigError, match="Set HOME"):
            use()
    assert expand_home("x") == Path("x")
    assert model_name("~/x") == "~/x"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder() == Path("/var/cache/lmm-classifier")


def test_a_relative_cache_folder_is_ignored(monkeypatch):
    """The XDG specification asks for that; it would be another folder for each current folder."""
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert cache_folder() == Path("/elsewhere/.cache/lmm-classifier")


@pytest.mark.parametrize(
    ("system", "folder"),
    [("macos.MacOS", "Library/Caches/lmm-classifier"), ("unix.Unix", ".cache/lmm-classifier")],
)
def test_the_cache_folder_is_where_the_system_keeps_such_files(monkeypatch, system, folder):
    """As `platformdirs` finds it for each system."""
    module, name = system.split(".")
    directories = getattr(import_module(f"platformdirs.{module}"), name)
    monkeypatch.setattr("platformdirs.PlatformDirs", directories)
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/elsewhere") / folder


def test_paths_are_told_from_names_on_the_hub():
    """A hub name is `name` or `owner/name`."""
    for path in ("./x", "../x", "/x", "~/x", "a/b/c", "C:\\x", ".", "a\\b"):
        assert looks_like_path(path), path
    for name in ("gpt2", "google/siglip-so400m-patch14-384", "a.b/c_d"):
        assert not looks_like_path(name), name


def test_a_model_is_looked_for_next_to_the_file_that_names_it(tmp_path):
    """Paths start there, and so does a name that exists there; any other name stays."""
    (tmp_path / "google").mkdir()
    assert model_in(tmp_path, "google") == str(tmp_path / "google")
    assert model_in(tmp_path, "../x") == str(tmp_path.parent / "x")
    assert model_in(tmp_path, "/x") == "/x"
    assert model_in(tmp_path, "google/siglip") == "google/siglip"


def test_the_name_of_a_model_folder_does_not_depend_on_the_current_folder(tmp_path, monkeypatch):
    """It is the last part of the whole path, also of `.` and `..`; of a link it is the link's name."""
    (tmp_path / "tiny" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("tiny")
    monkeypatch.chdir(tmp_path / "tiny")
    for written in (".", "../tiny", "./", str(tmp_path / "tiny"), "sub/.."):
        assert model_name(written) == "tiny"
    assert model_name("../link") == "link"
    assert model_name("owner/name") == "owner/name"
    assert absolute("sub/..") == tmp_path / "tiny"


def test_similar_names_are_offered(tmp_path):
    """Of the deepest folder that exists; nothing where nothing is similar."""
    (tmp_path / "models" / "tiny_siglip").mkdir(parents=True)
    expected = f"Did you mean {tmp_path / 'models' / 'tiny_siglip'}?"
    assert similar_names(tmp_path / "models" / "tiny_siglp") == expected
    assert similar_names(tmp_path / "model_s" / "tiny_siglip") == f"Did you mean {tmp_path / 'models'}?"
    assert similar_names(tmp_path / "models" / "zzz") == ""
