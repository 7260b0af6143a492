"""A real S3 server (moto, its own process) and a proxy before it that breaks what it is told to break."""

import html
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from urllib.parse import unquote

import pytest

BUCKET = "data"
SECRET = "SECRETSECRETSECRETSECRETSECRET"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
STALL_SECONDS = 6  # longer than the AWS SDK waits for a byte
needs_moto = pytest.mark.skipif(
    find_spec("moto") is None, reason="moto is not installed: pip install 'moto[s3,server]'"
)


@dataclass
class Fault:
    """Break the next ``times`` requests that match: an answer 500 or 503, a stall, a connection cut half way.

    ``short`` is an answer that is whole as HTTP, and has half of the bytes that it should have.
    """

    kind: str
    times: int
    method: str = ""
    part: str = ""  # of the path and query
    after: int = 0  # requests that match and pass first


@dataclass
class Proxy:
    """What went through, and what is to break."""

    url: str
    upstream: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def verdict(self, method: str, quoted: str) -> str:
        path = unquote(quoted)
        with self.lock:
            self.seen.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times and fault.method in ("", method) and fault.part in path:
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault.kind
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server() -> Iterator[str]:
    """Start moto as a process of its own; yield its address."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "moto did not start"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def request(url: str, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One plain request to the server itself, past the proxy and past our code."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    authorization = "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    connection.request(method, path, body, {"Authorization": authorization})
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result


class Handler(BaseHTTPRequestHandler):
    """Pass a request on, but for the faults."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def pass_on(self) -> None:
        kind = self.server.state.verdict(self.command, self.path)
        if kind == "cut" and self.command == "PUT":
            self.rfile.read(1 << 10)
        if kind == "refuse" or (kind == "cut" and self.command == "PUT"):
            self.hang_up()
            return
        body = self.body()
        if kind in ("500", "503"):
            code = {"500": "InternalError", "503": "SlowDown"}[kind]
            self.answer(int(kind), [], f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode())
            return
        if kind == "stall":
            time.sleep(STALL_SECONDS)
        status, headers, data = self.forwarded(body)
        if kind == "short" and self.command == "GET":
            data = data[: len(data) // 2]
        self.answer(status, headers, data, cut=kind == "cut")

    def forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.state.upstream.removeprefix("http://"), timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
        headers["Content-Length"] = str(len(body))
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        result = answer.status, answer.getheaders(), answer.read()
        connection.close()
        return result

    def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.hang_up()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """Stand before ``upstream``."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    listener.handle_error = lambda *_: None  # a client that gives up on a stalled request
    listener.state = Proxy(f"http://127.0.0.1:{listener.server_address[1]}", upstream)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield listener.state
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def keys(upstream: str) -> list[str]:
    """Every object of the bucket, but for the empty ones that stand for folders; past the proxy and past our code."""
    answer = request(upstream, "GET", f"/{BUCKET}?list-type=2&max-keys=1000")[1].decode()
    return [key for key in map(html.unescape, re.findall(r"<Key>(.*?)</Key>", answer)) if not key.endswith("/")]
