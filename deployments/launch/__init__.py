"""From a cluster file to a running application: `serve` on one machine, `up` over SSH."""
