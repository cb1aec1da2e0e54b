"""Images, audio and video of prompts: what may be fetched, and the fetching."""
