"""A small TCP proxy that can misbehave: latency, reset, drop (no new connections), black hole (bytes vanish)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

_CHUNK = 65_536


class Proxy:
    """Forwards connections to one address, badly when told so. Modes: `ok`, `latency`, `reset`, `drop`, `hole`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.mode = "ok"
        self.delay = 0.2
        self.passed = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._over = False
        threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True).start()

    def set(self, mode: str) -> None:
        """Change what happens; `reset` and `drop` also end what is open."""
        self.mode = mode
        if mode in ("reset", "drop"):
            self.cut()

    def cut(self) -> None:
        """Reset every open connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for sock in pair:
                _reset(sock)

    def close(self) -> None:
        """End for good."""
        self._over = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode in ("reset", "drop"):
                _reset(client)
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, timeout=2)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        ends = [threading.Thread(target=self._pump, args=ways, daemon=True) for ways in (pair, pair[::-1])]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        with self._lock:
            self._pairs.discard(pair)
        for sock in pair:
            sock.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.mode == "latency":
                    time.sleep(self.delay)
                while self.mode == "hole" and not self._over:
                    time.sleep(0.05)
                sink.sendall(data)
                self.passed += len(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
