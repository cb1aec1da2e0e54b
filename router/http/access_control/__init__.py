"""Who may do what: tenants by their API keys, pages of other origins, operators."""
