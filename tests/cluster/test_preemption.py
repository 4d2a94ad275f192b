"""A cloud's notice that it takes a machine back."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster import preemption


@contextlib.contextmanager
def metadata_server(answers: dict[tuple[str, str], str]) -> Iterator[str]:
    """(method, path) -> answer; AWS's asks for its session token, GCP's for its header."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            found = answers.get((self.command, self.path))
            session = self.headers.get("X-aws-ec2-metadata-token")
            if self.path.startswith("/meta-data") and session != "session":
                found = None
            if self.path.startswith("/instance") and not self.headers.get("Metadata-Flavor"):
                found = None
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write((found or "").encode())

        do_GET = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_aws_says_it_with_an_instance_action():
    answers = {("PUT", "/api/token"): "session"}
    with metadata_server(answers) as url:
        assert not preemption.aws(url)
        answers["GET", "/meta-data/spot/instance-action"] = '{"action": "terminate"}'
        assert preemption.aws(url)


def test_gcp_says_it_with_true():
    answers = {("GET", "/instance/preempted"): "FALSE"}
    with metadata_server(answers) as url:
        assert not preemption.gcp(url)
        answers["GET", "/instance/preempted"] = "TRUE"
        assert preemption.gcp(url)


def test_a_server_that_is_not_there_says_nothing():
    with metadata_server({}) as url:
        pass
    assert not preemption.aws(url)
    assert not preemption.gcp(url)


def test_the_node_is_drained_once_when_the_notice_has_come(monkeypatch, tmp_path):
    """`ray` lies beside the Python that Ray runs in."""
    (tmp_path / "python").touch()
    ray, said = tmp_path / "ray", tmp_path / "said.jsonl"
    ray.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"open({str(said)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
    )
    ray.chmod(0o755)
    answers = iter([False, False, True])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(preemption, "_EVERY_S", 0)
    monkeypatch.setattr(
        preemption, "NOTICES", {"aws": preemption.Notice(lambda: next(answers), 110)}
    )
    monkeypatch.setattr(preemption.time, "sleep", lambda seconds: None)
    assert preemption.main(["aws", "--address", "10.0.0.1:6379"]) == 0
    (arguments,) = map(json.loads, Path(said).read_text().splitlines())
    assert arguments[:3] == ["drain-node", "--address", "10.0.0.1:6379"]
    assert arguments[-2:] == ["--deadline-remaining-seconds", "110"]
    assert "DRAIN_NODE_REASON_PREEMPTION" in arguments


def test_ray_knows_the_command(monkeypatch):
    """Ray hides it from its help; its options may change."""
    from ray.scripts.scripts import drain_node

    command = preemption.drain_command("ray", "10.0.0.1:6379", 25)
    parsed = drain_node.make_context("drain-node", command[2:])
    assert parsed.params["deadline_remaining_seconds"] == 25


def test_an_unknown_cloud_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        preemption.main(["azure", "--address", "x"])
    assert ended.value.code == 2
    assert "invalid choice: 'azure'" in capsys.readouterr().err
