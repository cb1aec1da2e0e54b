"""The shell: Ray Serve deployments, engines and the `rackserve` command."""

__version__ = "0.1.0"
