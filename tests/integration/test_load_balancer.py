"""Two webhooks behind a real load balancer, with the configuration that is shipped."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hermes_cron.server import listen
from tests.chaos.servers import free_port
from tests.integration.system import System

DEPLOY = Path(__file__).parents[2] / "deploy"


@contextlib.contextmanager
def nginx(
    folder: Path, port: int, upstream: list[int], *, most_body: str = ""
) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
    """nginx with the shipped file, at free ports; for NAS, with the bodies that docs/deployment.md says."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx: it is not installed")
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in zip(("127.0.0.1:8081", "127.0.0.1:8082"), upstream, strict=True):
        text = text.replace(old, f"127.0.0.1:{new}")
    if most_body:
        text = text.replace("client_max_body_size 256k;", f"client_max_body_size {most_body};")
        text = text.replace("client_body_buffer_size 64k;", f"client_body_buffer_size {most_body};")
    (folder / "nginx.conf").write_text(text.replace("listen 127.0.0.1:8080", f"listen 127.0.0.1:{port}"))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.processes
@pytest.mark.redis
@pytest.mark.timeout(240)
def test_i13_behind_a_load_balancer_a_fire_sent_ten_times_runs_once_and_a_dead_webhook_is_passed_over(
    make_system: Callable[..., System], redis_url: str, tmp_path: Path
) -> None:
    system = make_system(redis_url)
    folder = tmp_path / "nginx"
    folder.mkdir()
    second, port = listen("127.0.0.1:0"), free_port()
    upstream = [system.web_socket.getsockname()[1], second.getsockname()[1]]
    with nginx(folder, port, upstream):
        system.callback_url = f"http://127.0.0.1:{port}"
        system.start_nas()
        web = system.start_web(0)
        system.start_web(1, second)
        system.start_worker(0)
        system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the webhooks are ready behind nginx")
        system.add("tide", "every 3s")
        system.wait(lambda: system.ran("tide"), "a fire through the proxy")
        assert system.cli("jobs", "pause", "tide").returncode == 0
        system.add("once", "in 3s")
        due = system.store.read("once").job.next_fire_at  # type: ignore[union-attr]  # it was added just now.
        assert [system.fire("once", due).status for _ in range(10)] == [202] * 10
        system.wait(lambda: system.ran("once"), "its run")
        # One webhook is killed: its socket is closed here too, so that a connection to it is refused.
        web.kill()
        web.wait()
        system.web_socket.close()
        assert [system.fire("once", due).status for _ in range(10)] == [202] * 10
        system.wait(lambda: system.load()["queued"] == 0, "the worker to have looked at them all")
        assert len(system.ran("once")) == 1
    second.close()
