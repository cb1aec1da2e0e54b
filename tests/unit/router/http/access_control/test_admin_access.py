"""Who may see which page of the admin port."""

from hashlib import sha256

import pytest

from router.http.access_control.admin_access import AdminAccess

KEY = sha256(b"op").hexdigest()


@pytest.mark.parametrize(
    ("access", "local", "stranger"),
    [
        (AdminAccess("", ["inner"], is_opened=False), {"/health", "/ready", "/metrics", "/state"}, {"/health"}),
        (
            AdminAccess("", [""], is_opened=True),
            {"/health", "/ready", "/metrics", "/state"},
            {"/health", "/ready", "/metrics"},
        ),
        (AdminAccess(KEY, ["inner"], is_opened=True), {"/health"}, {"/health"}),
    ],
)
def test_without_a_key(access: AdminAccess, local: set[str], stranger: set[str]) -> None:
    """This machine sees all where no key is set; others see what scrapers need where the port was opened to them."""
    for is_local, right in ((True, local), (False, stranger)):
        for authorization in (b"", b"Bearer ", b"Bearer wrong", b"Basic op", b"op"):
            seen = {
                page
                for page in ("/health", "/ready", "/metrics", "/state")
                if access.may_see(page.encode(), authorization, is_local=is_local)
            }
            assert seen == right


def test_keys_open_everything_from_anywhere() -> None:
    """The operators' key and the cluster's own credential do; neither one does where it was not set."""
    both = AdminAccess(KEY, ["inner"], is_opened=False)
    assert both.may_see(b"/state", b"Bearer op", is_local=False)
    assert both.may_see(b"/state", b"bearer inner", is_local=False)
    assert not AdminAccess("", [""], is_opened=False).may_see(b"/state", b"Bearer ", is_local=False)
