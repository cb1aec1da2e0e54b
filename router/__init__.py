"""Which replica a request goes to, and how its bytes get there. Pure except `router.http`, the data plane."""

from router.compiled import choose_form

FORM = choose_form()
"""Which form of this package runs: `compiled`, or `interpreted (WHY)`."""
