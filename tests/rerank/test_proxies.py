"""The proxy of the environment is for servers elsewhere, never for one on this machine or in its network."""

import pytest

from lmm_classifier.rerank.proxies import is_local, proxy_for

LOCAL = [
    *("localhost", "127.0.0.1", "127.8.9.1", "::1", "10.1.2.3", "192.168.0.7", "172.16.0.1", "169.254.1.1", "gpu-box"),
    *(
        "nas.local",
        "model.localhost",
        "fd00::1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "LOCALHOST.",
        "127.1",
        "0x7f.1",
    ),
]
ELSEWHERE = ["api.openai.com", "8.8.8.8", "2001:4860:4860::8888", "localhost.example.com", "172.32.0.1", "local.de"]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")


@pytest.mark.parametrize("host", LOCAL)
def test_local_servers_are_asked_directly(host):
    """Loopback, private and link-local addresses, and local names."""
    assert is_local(host)
    url = f"http://{f'[{host}]' if ':' in host else host}:8000/v1"
    assert proxy_for(url) is None
    assert proxy_for(url, "http://other:1") == "http://other:1"  # unless it is configured


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_servers_are_asked_through_the_proxy(host, monkeypatch):
    """What the environment names is used, and NO_PROXY holds."""
    assert not is_local(host)
    url = f"http://{f'[{host}]' if ':' in host else host}/v1"
    assert proxy_for(url) == "http://proxy.example:3128"
    assert proxy_for(url, "off") is None
    assert proxy_for(url.replace("http:", "https:")) is None
    monkeypatch.setenv("ALL_PROXY", "proxy.example:1080")
    assert proxy_for(url.replace("http:", "https:")) == "http://proxy.example:1080"
    monkeypatch.setenv("NO_PROXY", "8.8.0.0/16, .openai.com,2001:4860::/32,example.com,172.32.0.1,local.de")
    assert proxy_for(url) is None
