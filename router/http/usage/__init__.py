"""What tenants have used, recorded so that it can be billed."""
