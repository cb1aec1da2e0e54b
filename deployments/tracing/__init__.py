"""OpenTelemetry traces, where an exporter is configured: gateway → replica → engine."""
