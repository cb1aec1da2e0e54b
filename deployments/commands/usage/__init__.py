"""`rackserve usage`: what tenants have used, from the records that gateways keep."""
