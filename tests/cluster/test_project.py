import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.backend import Code
from cluster.errors import ClusterError, ConfigError
from cluster.project import Package, find_root, import_paths


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Makes a project of the given files: name -> text."""

    def make(**files: str) -> Path:
        for name, text in files.items():
            file = tmp_path / "project" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / "project"

    return make


def packed(root: Path, *excludes: str) -> list[str]:
    return list(Package.of(Code(root=root, excludes=excludes)).files)


def test_the_root_is_the_first_folder_upwards_with_a_pyproject_or_a_git(
    project: Callable[..., Path],
) -> None:
    root = project(**{"pyproject.toml": "", "a/b/app.py": "", "other/.git/HEAD": "", "other/x": ""})
    assert find_root(root / "a" / "b") == root
    assert find_root(root / "a" / "b" / "app.py") == root
    assert find_root(root / "other") == root / "other"


def test_without_a_mark_the_root_is_where_one_looks_from(tmp_path: Path) -> None:
    assert find_root(tmp_path) == tmp_path


def test_a_root_that_is_given_counts_from_where_one_looks(project: Callable[..., Path]) -> None:
    root = project(**{"pyproject.toml": "", "a/app.py": ""})
    assert find_root(root, "a") == root / "a"
    assert find_root(root / "a", "..") == root
    with pytest.raises(ConfigError, match=r"code\.root is 'nowhere'; it must be a folder"):
        find_root(root, "nowhere")


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        (("src/shop/__init__.py",), ("src",)),
        (("src/shop/train.py",), ("src",)),
        (("src/tool.py",), ("src",)),
        (("src/__init__.py", "src/tool.py"), ()),
        (("src/notes.txt",), ()),
        (("shop/__init__.py",), ()),
    ],
)
def test_src_is_an_import_path_where_it_holds_packages(
    project: Callable[..., Path], files: tuple[str, ...], paths: tuple[str, ...]
) -> None:
    assert import_paths(project(**dict.fromkeys(files, ""))) == paths


def test_ignore_files_of_all_levels_count_and_the_innermost_has_the_last_word(
    project: Callable[..., Path],
) -> None:
    root = project(
        **{
            ".gitignore": "*.log\n/data\nbuild/\n",
            ".rayignore": "*.ckpt\n",
            "app.py": "",
            "a.log": "",
            "w.ckpt": "",
            "data/big": "",
            "build/x": "",
            "src/.gitignore": "!keep.log\nlocal.yaml\n",
            "src/keep.log": "",
            "src/drop.log": "",
            "src/local.yaml": "",
            "src/data/table": "",
            "local.yaml": "",
        }
    )
    assert packed(root) == [
        ".gitignore",
        ".rayignore",
        "app.py",
        "local.yaml",
        "src/.gitignore",
        "src/data/table",
        "src/keep.log",
    ]


def test_secrets_stay_and_are_named_whatever_the_ignore_files_say(
    project: Callable[..., Path],
) -> None:
    root = project(
        **{
            ".gitignore": "!.env\n!*.pem\n.ssh\n",
            ".env": "TOKEN=x",
            ".env.local": "TOKEN=y",
            "deploy/tls.pem": "",
            "deploy/id_rsa": "",
            "deploy/id_ed25519.pub": "",
            ".ssh/config": "",
            "app.py": "",
        }
    )
    package = Package.of(Code(root=root))
    assert list(package.files) == [".gitignore", "app.py"]
    assert package.secrets == (
        ".env",
        ".env.local",
        ".ssh/",
        "deploy/id_ed25519.pub",
        "deploy/id_rsa",
        "deploy/tls.pem",
    )


def test_outputs_caches_and_environments_stay_but_packages_of_those_names_travel(
    project: Callable[..., Path],
) -> None:
    stays = [".git/HEAD", ".venv/bin/python", "outputs/1/x", "multirun/x", "web/node_modules/m.js"]
    stays += ["shop/__pycache__/a.pyc", "venv/x", ".mypy_cache/x", "shop/.ipynb_checkpoints/x"]
    travels = ["app.py", "shop/outputs/__init__.py", "shop/venv/x.py"]
    assert packed(project(**dict.fromkeys([*stays, *travels], ""))) == travels


def test_the_profile_excludes_more_and_takes_back_what_we_exclude(
    project: Callable[..., Path],
) -> None:
    root = project(**dict.fromkeys(["app.py", "cacert.pem", "key.pem", "raw/x", "outputs/y"], ""))
    assert packed(root, "raw", "!cacert.pem", "!/outputs") == ["app.py", "cacert.pem", "outputs/y"]


def test_links_are_followed_but_not_in_circles(
    project: Callable[..., Path], tmp_path: Path
) -> None:
    root = project(**{"app.py": "", "data/a": "1"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b").write_text("22")
    (root / "linked").symlink_to(elsewhere)
    (root / "app2.py").symlink_to(root / "app.py")
    (root / "data" / "round").symlink_to(root)
    (root / "broken").symlink_to(root / "nothing")
    assert packed(root) == ["app.py", "app2.py", "data/a", "linked/b"]


def test_a_whole_home_folder_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"all of it would be sent; .* set code\.root"):
        Package.of(Code(root=tmp_path))


def test_size_and_largest_paths(project: Callable[..., Path]) -> None:
    package = Package.of(Code(root=project(a="1" * 5, b="1" * 9, c="1" * 7)))
    assert package.size == 21
    assert package.largest(2) == [("b", 9), ("c", 7)]


def test_the_zip_holds_the_files_with_their_modes_and_is_the_same_each_time(
    project: Callable[..., Path], tmp_path: Path
) -> None:
    root = project(**{"app.py": "print(1)", "run.sh": "echo", ".env": "SECRET", "ä ö/x": "1"})
    (root / "run.sh").chmod(0o755)
    package = Package.of(Code(root=root))
    digest = package.zip(tmp_path / "1.zip")
    (root / "app.py").touch()
    assert package.zip(tmp_path / "2.zip") == digest
    with zipfile.ZipFile(tmp_path / "1.zip") as zipped:
        assert zipped.namelist() == ["app.py", "run.sh", "ä ö/x"]
        assert zipped.read("app.py") == b"print(1)"
        assert zipped.getinfo("run.sh").external_attr >> 16 & 0o777 == 0o755
    (root / "app.py").write_text("print(2)")
    assert package.zip(tmp_path / "3.zip", folder="p") != digest
    with zipfile.ZipFile(tmp_path / "3.zip") as zipped:
        assert zipped.namelist() == ["p/app.py", "p/run.sh", "p/ä ö/x"]


def test_a_file_that_is_gone_when_it_is_packed_is_named(
    project: Callable[..., Path], tmp_path: Path
) -> None:
    package = Package.of(Code(root=project(a="1")))
    (package.root / "a").unlink()
    with pytest.raises(ClusterError, match=r"a cannot be packed: No such file"):
        package.zip(tmp_path / "1.zip")
