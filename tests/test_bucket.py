"""Buckets, on a real S3 server: whole objects, bounded retries, messages that say what to do."""

from __future__ import annotations

import os
import pickle
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import cluster.bucket
from cluster.bucket import Bucket, BucketError, check_bucket
from cluster.errors import ConfigError


@pytest.fixture
def place(bucket: str) -> Bucket:
    return Bucket.parse(f"{bucket}/some/folder/")


def test_objects_are_written_read_listed_and_deleted(place: Bucket) -> None:
    place.put("a/1", b"one")
    place.put("a/2", b"")
    place.put("b", b"three")

    assert place.get("a/1") == b"one"
    assert place.get_all(["b", "a/2", "a/1"]) == [b"three", b"", b"one"]
    assert place.sizes() == {"a/1": 3, "a/2": 0, "b": 5}
    assert place.sizes("a") == {"a/1": 3, "a/2": 0}
    assert place.folders() == ["a"]
    assert place.has("a/1")
    assert not place.has("a")
    assert set(place.changed(["b", "c"])) == {"b"}
    place.delete("a/1")
    assert place.sizes() == {"a/2": 0, "b": 5}
    place.delete_below("a")
    assert place.sizes() == {"b": 5}


def test_what_is_not_there_is_empty_or_not_found_and_can_be_deleted(place: Bucket) -> None:
    assert place.sizes("never") == {}
    assert (place / "never").folders() == []
    place.delete("never")
    place.delete_below("never")
    with pytest.raises(FileNotFoundError):
        place.get("never")


def test_files_go_up_come_down_and_are_copied(place: Bucket, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(11 * 2**20))  # several parts
    (tmp_path / "empty").touch()
    place.upload({"x/big": tmp_path / "big", "x/empty": tmp_path / "empty"})
    place.copy({"x/big": "y/big"})

    place.download({"y/big": tmp_path / "new" / "folder" / "big", "x/empty": tmp_path / "none"})
    back = tmp_path / "new" / "folder" / "big"
    assert back.read_bytes() == (tmp_path / "big").read_bytes()
    assert (tmp_path / "none").read_bytes() == b""


def test_more_than_a_thousand_objects_are_listed(place: Bucket, object_store: Any) -> None:
    name = place.url.removeprefix("s3://").partition("/")[0]
    object_store.fill(name, "some/folder/many/", 2_345)

    assert list(place.sizes("many")) == [f"many/{number:06d}" for number in range(2_345)]


def test_a_small_object_costs_one_request(place: Bucket, object_store: Any) -> None:
    object_store.counts()
    place.put("a", b"some text")
    assert object_store.counts() == {"PUT": 1}


def test_what_fails_for_a_moment_is_tried_again(place: Bucket, object_store: Any) -> None:
    object_store.fail(status=503, times=3)
    place.put("a", b"text")
    assert place.get("a") == b"text"

    object_store.fail(status=500, times=2)
    assert place.get("a") == b"text"


def test_a_store_that_stays_away_is_given_up_within_the_patience(
    place: Bucket, object_store: Any
) -> None:
    object_store.fail(status=503)
    began = time.monotonic()
    with pytest.raises(BucketError, match=r"cannot be reached at http://127\.0\.0\.1.*run again"):
        Bucket(place.url, patience_s=0.5).put("a", b"")
    assert 0.2 < time.monotonic() - began < 5


def test_a_refusal_is_not_tried_again(place: Bucket, object_store: Any) -> None:
    object_store.fail(status=403)
    object_store.counts()
    with pytest.raises(BucketError, match="access is denied; the credentials must be valid"):
        place.put("a", b"")
    assert object_store.counts() == {"PUT": 1}


def test_missing_credentials_are_named(
    place: Bucket, object_store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    object_store.fail(status=403)
    with pytest.raises(BucketError, match=r"no credentials here: set AWS_ACCESS_KEY_ID and"):
        place.put("a", b"")


def test_a_missing_bucket_is_named(object_store: Any) -> None:
    with pytest.raises(BucketError, match=r"there is no bucket 'no-such-bucket' at http://"):
        check_bucket("s3://no-such-bucket/sweeps")


def test_an_endpoint_where_nobody_listens_is_told_within_seconds(
    monkeypatch: pytest.MonkeyPatch, fresh_clients: None
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(cluster.bucket, "_CHECK_S", 0.5)
    began = time.monotonic()
    with pytest.raises(BucketError, match=r"cannot be reached at http://127\.0\.0\.1:9; check"):
        check_bucket("s3://bucket/sweeps")
    assert time.monotonic() - began < 6


def test_an_endpoint_that_never_answers_is_told_within_seconds(
    monkeypatch: pytest.MonkeyPatch, fresh_clients: None
) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setattr(cluster.bucket, "_CHECK_S", 1.0)
        began = time.monotonic()
        with pytest.raises(BucketError, match="cannot be reached at http"):
            check_bucket("s3://bucket/sweeps")
        assert time.monotonic() - began < 6


def test_a_check_leaves_nothing_behind(bucket: str) -> None:
    check_bucket(f"{bucket}/sweeps")
    assert Bucket.parse(bucket).sizes() == {}


def test_no_credential_is_in_a_message_a_repr_or_a_pickle(
    place: Bucket, object_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setattr(cluster.bucket, "_REFUSED", cluster.bucket._CERTIFICATE)
    object_store.fail(status=418)
    with pytest.raises(BucketError) as refused:
        place.put("a", b"")
    place.parent  # noqa: B018
    for text in (repr(place), str(refused.value), pickle.dumps(place).decode("latin-1")):
        assert secret not in text
        assert os.environ["AWS_ACCESS_KEY_ID"] not in text


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("s3://AKIA:verysecret@bucket/x", "holds credentials"),
        ("s3://bucket/x?secret_key=verysecret", "must end with its path"),
        ("s4://bucket", "must be a folder, or a URL such as s3://bucket/sweeps"),
        ("s3:///sweeps", "must be a folder, or a URL"),
    ],
)
def test_a_url_that_is_no_place_is_refused_without_its_secrets(url: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as refused:
        Bucket.parse(url)
    assert "verysecret" not in str(refused.value)


def test_a_place_is_written_in_one_way() -> None:
    assert Bucket.parse("s3://bucket//sweeps/").url == "s3://bucket/sweeps"
    assert (Bucket.parse("gs://bucket") / "a").parent == Bucket.parse("gs://bucket/")
    assert Bucket.parse("s3://bucket/sweeps/mnist").name == "mnist"


def test_a_document_that_grows_while_it_is_read_is_read_whole(
    place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [b'{"a": 1', b'{"a": 12}']
    monkeypatch.setattr(Bucket, "get", lambda self, key: texts.pop(0))
    assert place.get_json("a") == {"a": 12}

    monkeypatch.setattr(Bucket, "get", lambda self, key: b"{")
    with pytest.raises(ValueError, match="Expecting"):
        place.get_json("a")
