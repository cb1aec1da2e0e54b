"""The directory: one small actor that knows which replicas and gateways exist, and its clients."""
