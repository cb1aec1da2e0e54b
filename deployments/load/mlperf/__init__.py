"""MLPerf's LoadGen as the source of requests: its scenarios, its verdict, its accuracy mode."""
