"""Where the programs connect: told by the test that runs them."""

import os

BASE_URL = os.environ["BASE_URL"]
"""The endpoint, with `/v1`."""
KEY = os.environ["API_KEY"]
MODEL = os.environ["MODEL"]
