"""Where a server listens, what it prints, and what it answers to."""

import urllib.request

import pytest

from diptych.service.guard import LOCAL_HOSTS
from diptych.service.server import AddressInUse, hosts_for, listening_socket, url_of


def test_a_taken_port_is_refused_or_replaced():
    with listening_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"cannot listen on 127.0.0.1, port {port}.*choose another with --port"):
            listening_socket("127.0.0.1", port)
        with listening_socket("127.0.0.1", port, any_port=True) as second:
            assert second.getsockname()[1] not in (0, port)


def test_an_address_that_is_not_ours_is_refused():
    with pytest.raises(AddressInUse, match=r"cannot listen on 203\.0\.113\.1"):
        listening_socket("203.0.113.1", 0, any_port=True)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")])
def test_the_url_is_one_that_a_browser_here_can_open(host, url):
    with listening_socket(host, 0) as listener:
        assert url_of(listener) == f"{url}{listener.getsockname()[1]}"
        assert urllib.request.urlparse(url_of(listener)).port


@pytest.mark.parametrize(("host", "hosts"), [
    ("127.0.0.1", LOCAL_HOSTS), ("localhost", LOCAL_HOSTS), ("::1", LOCAL_HOSTS), ("0.0.0.0", None), ("10.0.0.5", None),
])
def test_other_names_are_answered_only_where_other_machines_may_call(host, hosts):
    assert hosts_for(host) == hosts
