"""OpenTelemetry traces through gateway, replica and engine, if an exporter is configured."""
