"""The dashboard: look, and steer. Pages made on the server, one small script and one small sheet; no build step."""
