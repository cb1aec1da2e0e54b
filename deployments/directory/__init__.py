"""The directory: one small Ray actor that knows which replicas and gateways exist, and its clients."""
