"""One request and its answer: sent to a replica, sent again where that fails, passed on to the client."""
