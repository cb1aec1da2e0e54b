"""The shell: Ray Serve deployments, engines and the `rackserve` command."""
