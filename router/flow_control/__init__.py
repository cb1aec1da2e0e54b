"""Flow control: which request goes to a replica now, which waits in the gateway, which is refused."""
