"""What `hermes-cron web` runs with, for who starts gunicorn by hand: gunicorn -c deploy/gunicorn.conf.py.

The same values stand in hermes_cron/server.py (SETTINGS); a test holds the two together.
"""

import os
from pathlib import Path

wsgi_app = "hermes_cron.wsgi:application"
bind = os.environ.get("HERMES_CRON_WEB__BIND", "127.0.0.1:8080")
workers = int(os.environ.get("HERMES_CRON_WEB_WORKERS", "2"))

worker_class = "gthread"
threads = 8
timeout = 30
graceful_timeout = 30
keepalive = 5
backlog = 2048

# One socket in the user's home, by which any task of this user could stop the server.
control_socket_disable = True

# Nobody in front may set SCRIPT_NAME, or say where a request came from. Behind a proxy on another machine, put that
# proxy's address (nothing else) into forwarded_allow_ips if you want client addresses in an access log.
forwarder_headers = ""
forwarded_allow_ips = ""

# The parser that the tests have met: another one must not be taken up because some package brought it.
http_parser = "python"

limit_request_line = 2048
limit_request_fields = 50
limit_request_field_size = 8220

# The heartbeat file must not wait for a disk.
_memory = Path("/dev/shm")  # noqa: S108 - only the heartbeat, which gunicorn makes safely.
worker_tmp_dir = str(_memory) if _memory.is_dir() else None
