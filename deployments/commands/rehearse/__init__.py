"""`rackserve why --body`: asks a gateway where a request would go, without running it."""
