"""Where gangs stand: inside NVLink domains, on which nodes, and why one does not fit."""
