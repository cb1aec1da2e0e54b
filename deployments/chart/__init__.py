"""What of the Helm chart is made from code: `values.schema.json` from the spec, the README's table from values.yaml."""
