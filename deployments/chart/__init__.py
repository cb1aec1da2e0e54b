"""Makes the Helm chart's `values.schema.json` from the spec, and its README's table from values.yaml."""
