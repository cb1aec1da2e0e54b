"""`/v1/responses`: created, kept, continued, fetched and cancelled."""
