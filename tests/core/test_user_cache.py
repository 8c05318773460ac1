"""The folder for files that can be made again."""

from lmm_classifier.core.user_cache import user_cache


def test_it_follows_the_environment(monkeypatch, tmp_path):
    """XDG_CACHE_HOME comes first, then the home folder; without a home there is none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "lmm-classifier"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "lmm-classifier"

    def no_account(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", no_account)
    assert user_cache() is None
