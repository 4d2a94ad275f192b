import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.auth import find_token, read_or_make_token, read_token, token_headers
from cluster.errors import ClusterError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_where_there_is_none_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "own" / "token"
    token = read_or_make_token(file)
    assert len(bytes.fromhex(token)) == 32
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert read_or_make_token(file) == token
    assert [path.name for path in file.parent.iterdir()] == ["token"]


def test_who_makes_one_at_once_gets_the_same(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(read_or_make_token, [file] * 32))) == 1


def test_a_token_that_others_can_read_is_closed_to_them_and_said_but_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "auth_token"
    file.write_text("s3cret\n")
    file.chmod(0o644)
    assert read_token(file) == "s3cret"
    assert mode(file) == 0o600
    assert caplog.messages == [f"{file} could be read by others; its mode is 0600 now"]
    read_token(file)
    assert len(caplog.messages) == 1


def test_the_variable_comes_first_then_the_file_then_that_of_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OUR_TOKEN", "of-variable")
    for name, token in (("file", "of-file"), (".ray/auth_token", "of-ray")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(token)
    assert find_token(file="~/file", variable="OUR_TOKEN") == "of-variable"
    assert find_token(file="~/file") == "of-file"
    assert find_token() == "of-ray"


def test_what_is_missing_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUR_TOKEN", raising=False)
    with pytest.raises(ClusterError, match=r"OUR_TOKEN is not set; the profile's token_env"):
        find_token(variable="OUR_TOKEN")
    with pytest.raises(ClusterError, match=r"none is not there; copy the cluster's token into it"):
        find_token(file=str(tmp_path / "none"))


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"a\nInjected: b", b"\xff\xfe"])
def test_what_is_no_token_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_bytes(content)
    with pytest.raises(ClusterError, match=r"no token|no text") as refused:
        read_token(file)
    assert "Injected" not in str(refused.value)
    assert "words" not in str(refused.value)


def test_headers_carry_the_token_and_are_empty_without() -> None:
    assert token_headers("t") == {"Authorization": "Bearer t"}
    assert token_headers("") == {}
