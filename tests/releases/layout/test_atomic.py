"""The layout ``releases``: building, shared paths, switching, restoring and removing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.errors import LayoutError
from deployctl.git.mirror import Mirror
from deployctl.releases.layout import layout_of
from deployctl.releases.layout.atomic import Releases
from deployctl.store.database import prepare_state_dir
from deployctl.values.deployment import Live
from deployctl.values.repo import Repo
from tests.support.paths import ROOT
from tests.support.upstream import Upstream

MAIN = "refs/heads/main"
NOBODY = 65534


class Site:
    """A repo that is deployed as releases below ``tmp_path``."""

    def __init__(self, directory: Path, upstream: Upstream, **keys: Any) -> None:
        self.path = directory / "blog"
        prepare_state_dir(str(directory / "state"))
        repo = Repo(name="blog", url=upstream.url, path=str(self.path), **keys)
        self.mirror = Mirror(repo, str(directory / "state"))
        self.layout = Releases(repo, self.mirror)

    def build(self, number: int) -> str:
        """Prepare and complete a release of the branch; return its name."""
        revision = self.mirror.fetch(MAIN)
        self.layout.check()
        name = self.layout.new_name(number, revision)
        self.layout.prepare(number, revision, name)
        self.layout.complete(name, revision)
        return name

    def deploy(self, number: int) -> str:
        name = self.build(number)
        self.layout.switch(number, self.mirror.resolve(MAIN), name)
        return name

    def release(self, name: str) -> Path:
        return self.path / "releases" / name


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path, upstream: Upstream) -> MakeSite:
    return lambda **keys: Site(tmp_path, upstream, **keys)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


def complaint_of(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(LayoutError) as caught:
        call(*arguments)
    return str(caught.value)


# building


def test_a_release_contains_its_revision(site: Site, upstream: Upstream) -> None:
    name = site.build(3)
    assert name == f"3-{upstream.head[:12]}"
    assert sorted(os.listdir(site.release(name))) == [".complete", "README", "REVISION"]
    assert (site.release(name) / "REVISION").read_text() == f"{upstream.head}\n"
    assert site.layout.directory(name) == str(site.release(name))


def test_the_default_layout_is_releases(site: Site) -> None:
    assert isinstance(layout_of(site.layout.repo, site.mirror), Releases)


def test_a_release_is_usable_only_once_it_is_complete(site: Site, upstream: Upstream) -> None:
    revision = site.mirror.fetch(MAIN)
    site.layout.check()
    name = site.layout.new_name(1, revision)
    site.layout.prepare(1, revision, name)
    assert not site.layout.usable(name, revision)
    assert complaint_of(site.layout.switch, 1, revision, name) == (
        f"{site.release(name)} is not a complete release of {revision}"
    )
    assert site.layout.live() is None
    site.layout.complete(name, revision)
    assert site.layout.usable(name, revision)
    assert not site.layout.usable(name, "1" * 40)


def test_a_new_release_gets_a_name_that_no_directory_has(site: Site, upstream: Upstream) -> None:
    names = [site.build(1) for _ in range(3)]
    assert names == [f"1-{upstream.head[:12]}{suffix}" for suffix in ("", ".2", ".3")]
    revision = upstream.head
    assert complaint_of(site.layout.prepare, 1, revision, names[0]) == (
        f"{site.release(names[0])} is there already: remove it, then deploy again"
    )


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a_web_server_can_read_a_release_whatever_the_umask_is(
    make_site: MakeSite, upstream: Upstream, umask: int
) -> None:
    upstream.commit({"log/.keep": "", "deep/page": "hi\n"})
    site = make_site(shared_dirs=("deep/uploads", "a/b"), shared_files=("c/d",))
    before = os.umask(umask)
    try:
        (site.path / "shared" / "c").mkdir(parents=True)
        (site.path / "shared" / "c" / "d").touch()
        for directory in (site.path, site.path / "shared", site.path / "shared" / "c"):
            directory.chmod(0o755)
        name = site.deploy(1)
    finally:
        os.umask(before)
    directories = [path for path in site.path.rglob("*") if path.is_dir() and not path.is_symlink()]
    assert {path.stat().st_mode & 0o777 for path in directories} == {0o755}
    files = [site.release(name) / file for file in ("REVISION", ".complete", "deep/page")]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
@pytest.mark.parametrize("marker", ["REVISION", ".complete"])
def test_a_marker_file_in_the_commit_does_not_make_a_release_complete(
    tmp_path: Path, site: Site, upstream: Upstream, kind: str, marker: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched\n")
    if kind == "file":
        upstream.commit({marker: "0" * 40 + "\n"})
    elif kind == "directory":
        upstream.commit({f"{marker}/file": "x\n"})
    else:
        (upstream.work / marker).symlink_to(outside)
        upstream.commit()
    revision = site.mirror.fetch(MAIN)
    site.layout.check()
    name = site.layout.new_name(1, revision)
    site.layout.prepare(1, revision, name)
    assert not site.layout.usable(name, revision)
    site.layout.complete(name, revision)
    assert site.layout.usable(name, revision)
    assert (site.release(name) / "REVISION").read_text() == f"{revision}\n"
    assert outside.read_text() == "untouched\n"


# shared


def test_shared_files_and_directories_are_linked_relatively(make_site: MakeSite) -> None:
    site = make_site(shared_dirs=("uploads", "var/log"), shared_files=("config/site.yml",))
    (site.path / "shared" / "config").mkdir(parents=True)
    (site.path / "shared" / "config" / "site.yml").write_text("mine\n")
    name = site.deploy(1)
    links = {
        link: os.readlink(site.release(name) / link)
        for link in ("uploads", "var/log", "config/site.yml")
    }
    assert links == {
        "uploads": "../../shared/uploads",
        "var/log": "../../../shared/var/log",
        "config/site.yml": "../../../shared/config/site.yml",
    }
    site.path.rename(site.path.parent / "moved")
    moved = site.path.parent / "moved" / "current"
    assert (moved / "config" / "site.yml").read_text() == "mine\n"
    assert (moved / "uploads").is_dir()


def test_a_shared_directory_starts_with_what_the_first_commit_has(
    make_site: MakeSite, upstream: Upstream
) -> None:
    site = make_site(shared_dirs=("uploads",))
    upstream.commit({"uploads/logo": "one\n"})
    site.deploy(1)
    (site.path / "shared" / "uploads" / "photo").write_text("precious\n")
    upstream.commit({"uploads/logo": "two\n", "uploads/more": "new\n"})
    site.deploy(2)
    shared = site.path / "current" / "uploads"
    assert sorted(os.listdir(shared)) == ["logo", "photo"]
    assert (shared / "logo").read_text() == "one\n"


def test_a_shared_file_replaces_the_one_of_the_commit(
    make_site: MakeSite, upstream: Upstream
) -> None:
    site = make_site(shared_files=("site.yml",), shared_dirs=("data",))
    (site.path / "shared").mkdir(parents=True)
    (site.path / "shared" / "site.yml").write_text("mine\n")
    upstream.commit({"site.yml": "theirs\n", "data": "a file\n"})
    name = site.deploy(1)
    assert (site.release(name) / "site.yml").read_text() == "mine\n"
    assert (site.release(name) / "data").is_dir()


def test_a_missing_shared_file_is_an_error_before_a_release_is_built(make_site: MakeSite) -> None:
    site = make_site(shared_files=("config/site.yml",))
    assert complaint_of(site.deploy, 1) == (
        f"the shared file {site.path}/shared/config/site.yml does not exist: create it (it is "
        "linked into every release as config/site.yml), then deploy again"
    )
    assert os.listdir(site.path / "releases") == []


@pytest.mark.parametrize(("kind", "target"), [("symlink", "/etc"), ("file", None)])
def test_a_parent_of_a_shared_path_must_be_a_directory_in_the_commit(
    tmp_path: Path, make_site: MakeSite, upstream: Upstream, kind: str, target: str | None
) -> None:
    site = make_site(shared_dirs=("config/data",), shared_files=("config/x",))
    (site.path / "shared" / "config").mkdir(parents=True)
    (site.path / "shared" / "config" / "x").touch()
    if target:
        (upstream.work / "config").symlink_to(tmp_path / "outside")
        (tmp_path / "outside").mkdir()
        upstream.commit()
    else:
        upstream.commit({"config": "a file\n"})
    assert complaint_of(site.build, 1) == (
        f"config is a {kind} in the commit, so the shared config/data cannot be put there: "
        f"remove the {kind} from the repository"
    )
    if target:
        assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_with_the_name_of_a_shared_directory_is_an_error(make_site: MakeSite) -> None:
    site = make_site(shared_dirs=("uploads",))
    (site.path / "shared").mkdir(parents=True)
    (site.path / "shared" / "uploads").touch()
    assert complaint_of(site.build, 1) == (
        f"{site.path}/shared/uploads is not a directory: move it away, or take uploads out of "
        "shared_dirs"
    )


# switching


def test_current_points_to_the_live_release(site: Site, upstream: Upstream) -> None:
    first, old = site.deploy(1), upstream.head
    assert site.layout.live() == Live(old, first, f"releases/{first}")
    new = upstream.commit({"README": "two\n"})
    second = site.deploy(2)
    assert site.layout.live() == Live(new, second, f"releases/{second}")
    assert os.readlink(site.path / "current") == f"releases/{second}"
    assert site.layout.live_directory() == str(site.path / "current")
    assert sorted(os.listdir(site.path)) == ["current", "releases", "shared"]


def test_a_reader_finds_a_complete_release_at_every_instant(site: Site, upstream: Upstream) -> None:
    names = [site.deploy(1), site.build(2)]
    revision, stop, reads = upstream.head, threading.Event(), 0
    failures: list[OSError] = []

    def read() -> None:
        nonlocal reads
        while not stop.is_set():
            try:
                os.readlink(site.path / "current")
                assert (site.path / "current" / "REVISION").read_text() == f"{revision}\n"
            except OSError as error:
                failures.append(error)
            reads += 1

    reader = threading.Thread(target=read)
    reader.start()
    for count in range(200):
        site.layout.switch(1, revision, names[count % 2])
    stop.set()
    reader.join()
    assert failures == []
    assert reads > 50


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_file_or_directory_called_current_is_an_error_and_not_touched(
    site: Site, kind: str
) -> None:
    current = site.path / "current"
    site.path.mkdir()
    if kind == "directory":
        current.mkdir()
        (current / "precious").write_text("mine")
    else:
        current.write_text("mine")
    assert complaint_of(site.deploy, 1) == (
        f"{current} is not a symlink, so it cannot be switched: move it away "
        f"(mv {current} {current}.old), then deploy again"
    )
    site.layout.restore(None)
    kept = current / "precious" if kind == "directory" else current
    assert kept.read_text() == "mine"


def test_what_a_killed_switch_left_does_not_disturb_the_next_one(site: Site) -> None:
    first = site.deploy(1)
    (site.path / ".current.new").symlink_to("nowhere")
    second = site.deploy(2)
    site.layout.restore(Live(None, first, f"releases/{first}"))
    assert second != first
    assert not os.path.lexists(site.path / ".current.new")


def test_a_path_below_a_file_is_an_error_with_advice(tmp_path: Path, site: Site) -> None:
    site.path.write_text("a file")
    assert complaint_of(site.layout.check) == (
        f"cannot create {site.path}: Not a directory; let this account write there "
        f"(sudo install -d -o $(id -un) {site.path}), or set path of blog"
    )


# restoring


def test_restore_makes_the_previous_release_live_and_may_be_repeated(
    site: Site, upstream: Upstream
) -> None:
    site.deploy(1)
    before = site.layout.live()
    upstream.commit({"README": "two\n"})
    site.deploy(2)
    for _ in range(2):
        site.layout.restore(before)
        assert site.layout.live() == before


def test_restore_of_nothing_leaves_nothing_live(site: Site) -> None:
    name = site.deploy(1)
    for _ in range(2):
        site.layout.restore(None)
        assert site.layout.live() is None
    assert site.release(name).is_dir()


@pytest.mark.parametrize("relative", [True, False])
def test_restore_writes_the_same_target_of_a_symlink_made_by_hand(
    tmp_path: Path, site: Site, relative: bool
) -> None:
    (tmp_path / "old-site").mkdir()
    link = "../old-site" if relative else str(tmp_path / "old-site")
    site.path.mkdir()
    (site.path / "current").symlink_to(link)
    before = site.layout.live()
    assert before == Live(None, None, link)
    site.deploy(1)
    site.layout.restore(before)
    assert os.readlink(site.path / "current") == link


def test_a_release_that_is_gone_cannot_be_restored(site: Site) -> None:
    first = site.deploy(1)
    before = site.layout.live()
    second = site.deploy(2)
    shutil.rmtree(site.release(first))
    assert complaint_of(site.layout.restore, before) == (
        f"{site.release(first)}, which was live before, is gone from the disk"
    )
    assert os.readlink(site.path / "current") == f"releases/{second}"


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("releases/3-abc", "3-abc"),
        ("./releases/3-abc/", "3-abc"),
        ("{path}/releases/3-abc", "3-abc"),
        ("releases", None),
        ("../blog2/releases/3-abc", None),
        ("/srv/other", None),
        (None, None),
    ],
)
def test_release_of_returns_the_release_that_a_link_leads_to(
    site: Site, link: str | None, name: str | None
) -> None:
    assert site.layout.release_of(link and link.format(path=site.path)) == name


# removing


def test_discard_removes_a_release_and_may_be_repeated(site: Site) -> None:
    first, second = site.deploy(1), site.deploy(2)
    for _ in range(2):
        site.layout.discard(1, first)
        assert os.listdir(site.path / "releases") == [second]


def test_discard_follows_no_symlink(tmp_path: Path, make_site: MakeSite) -> None:
    site = make_site(shared_dirs=("uploads",))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    name = site.build(1)
    (site.release(name) / "out").symlink_to(tmp_path / "outside")
    (site.path / "shared" / "uploads" / "photo").touch()
    site.layout.discard(1, name)
    assert (tmp_path / "outside" / "precious").exists()
    assert (site.path / "shared" / "uploads" / "photo").exists()


def test_discard_of_a_release_that_was_built_in_place_removes_nothing(site: Site) -> None:
    name = site.deploy(1)
    site.layout.discard(1, None)
    assert os.listdir(site.path / "releases") == [name]
    assert (site.path / "current" / "README").exists()


WITHOUT_PRIVILEGES = """
import sys
from deployctl.errors import LayoutError
from deployctl.git.mirror import Mirror
from deployctl.releases.layout.atomic import Releases
from deployctl.values.repo import Repo
repo = Repo("blog", "/nowhere", sys.argv[1])
layout = Releases(repo, Mirror(repo, "/nowhere"))
obstacles = layout.obstacles()
try:
    layout.discard(1, sys.argv[2]) if len(sys.argv) > 2 else layout.check()
except LayoutError as error:
    assert len(sys.argv) > 2 or obstacles[0] == str(error), obstacles
    print(error)
"""


def complaint_without_privileges(site: Site, *discarded: str) -> str:
    """Return the error of check or discard in a process without the privileges of root."""
    command = [sys.executable, "-c", WITHOUT_PRIVILEGES, str(site.path), *discarded]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    completed = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True
    )
    return completed.stdout.strip()


def test_a_path_that_cannot_be_made_is_an_error_with_advice(tmp_path: Path, site: Site) -> None:
    tmp_path.chmod(0o555)
    assert complaint_without_privileges(site) == (
        f"cannot create {site.path}: Permission denied; let this account write there "
        f"(sudo install -d -o $(id -un) {site.path}), or set path of blog"
    )
    tmp_path.chmod(0o755)


def test_an_unwritable_path_is_an_error_with_advice(site: Site) -> None:
    site.layout.check()
    (site.path / "releases").chmod(0o555)
    assert complaint_without_privileges(site) == (
        f"{site.path}/releases is not writable for this account: give it away "
        f"(sudo chown $(id -un) {site.path}/releases), or set path of blog"
    )


def test_obstacles_are_reported_without_making_anything(
    tmp_path: Path, make_site: MakeSite
) -> None:
    site = make_site(shared_files=(".env", "site.yml"))
    before = sorted(tmp_path.rglob("*"))
    obstacles = site.layout.obstacles()
    assert [line.partition(": ")[0] for line in obstacles] == [
        f"the shared file {site.path}/shared/{name} does not exist" for name in (".env", "site.yml")
    ]
    assert sorted(tmp_path.rglob("*")) == before
    (site.path / "current").mkdir(parents=True)
    assert site.layout.obstacles()[0] == complaint_of(site.layout.check)
    assert len(site.layout.obstacles()) == 3
    shutil.rmtree(site.path)
    site.path.touch()
    assert site.layout.obstacles()[0] == complaint_of(site.layout.check)


def test_read_only_directories_are_removed_too(tmp_path: Path, site: Site) -> None:
    name = site.build(1)
    (tmp_path / "outside").mkdir(mode=0o555)
    cache = site.release(name) / "cache"
    (cache / "module" / "deep").mkdir(parents=True)
    (cache / "module" / "deep" / "file").touch(mode=0o444)
    (cache / "link").symlink_to(tmp_path / "outside")
    for directory in (cache / "module" / "deep", cache / "module", cache):
        directory.chmod(0o555)
    assert complaint_without_privileges(site, name) == ""
    assert not site.release(name).exists()
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o555


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_release_with_files_of_another_account_is_an_error_and_unusable(site: Site) -> None:
    name = site.build(1)
    foreign = site.release(name) / "cache"
    foreign.mkdir()
    (foreign / "file").touch()
    os.chown(foreign, NOBODY, NOBODY)
    complaint = complaint_without_privileges(site, name)
    assert complaint == (
        f"cannot remove {site.release(name)}: Permission denied: file; a step or a service wrote "
        "it as another account: remove it by hand, or share its directory"
    )
    assert not site.layout.usable(name, site.mirror.resolve(MAIN))


def test_a_stray_is_neither_complete_nor_recorded_nor_live(make_site: MakeSite) -> None:
    site = make_site()
    complete = site.build(1)
    for name in ("2-0123456789ab", "3-0123456789ab.2", "mine", "4-0123456789ab"):
        site.release(name).mkdir()
    (site.path / "current").symlink_to("releases/4-0123456789ab")
    assert complete.startswith("1-")
    assert site.layout.strays(["2-0123456789ab", None]) == ["3-0123456789ab.2"]


def test_a_live_release_that_is_gone_cannot_be_restored(site: Site) -> None:
    name = site.deploy(1)
    live = site.layout.live()
    shutil.rmtree(site.release(name))
    assert complaint_of(site.layout.restore, live) == (
        f"{site.release(name)}, which was live before, is gone from the disk"
    )


def test_a_file_revision_written_by_a_stage_is_replaced(site: Site) -> None:
    revision = site.mirror.fetch(MAIN)
    site.layout.check()
    name = site.layout.new_name(1, revision)
    site.layout.prepare(1, revision, name)
    (site.release(name) / "REVISION").write_text("v1.2-3-gabcdef\n")
    site.layout.complete(name, revision)
    assert site.layout.usable(name, revision)
