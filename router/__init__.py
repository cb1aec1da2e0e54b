"""Which replica a request goes to, and how its bytes get there. Pure except `router.http`, the data plane."""
