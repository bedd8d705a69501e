# SPDX-License-Identifier: Apache-2.0
"""ovs-patch/apply, on those files of the pristine sources that it changes."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BUILD") or ROOT / "build")

spec = importlib.util.spec_from_file_location("patches", ROOT / "ovs-patch/patches.py")
patches = importlib.util.module_from_spec(spec)
spec.loader.exec_module(patches)


@pytest.fixture(params=patches.releases())
def tree(request, tmp_path):
    source = BUILD / "source" / request.param
    if not source.exists():
        pytest.skip(f"{source} is not there: scripts/fetch-ovs.sh {request.param}")
    for path in patches.hooks(request.param):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, tmp_path / path)
    return tmp_path


def apply(tree):
    command = [sys.executable, str(ROOT / "ovs-patch/apply"), str(tree)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def content(tree):
    return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_adds_hooks_and_new_files_and_does_nothing_the_second_time(tree):
    assert apply(tree).returncode == 0
    assert "OVS_CHECK_NETMAP" in (tree / "configure.ac").read_text()
    for path, source in patches.new_files().items():
        assert (tree / path).read_bytes() == source.read_bytes()
    once = content(tree)
    again = apply(tree)
    assert again.returncode == 0 and "up to date" in again.stdout
    assert content(tree) == once


def test_brings_an_older_version_up_to_date(tree):
    assert apply(tree).returncode == 0
    wanted = content(tree)
    # As if another version of the patches had been applied.
    for path in tree / "vswitchd/bridge.c", tree / ".ovs-netmap.patch":
        edit(path, "netmap_init(&cfg->other_config);", "netmap_begin(&cfg->other_config);")
    edit(tree / "lib/netmap.h", "#define NETMAP_H 1", "#define NETMAP_H 0")
    assert apply(tree).returncode == 0
    assert content(tree) == wanted


def test_a_hook_that_does_not_fit_exactly_leaves_the_tree_as_it_was(tree):
    edit(
        tree / "vswitchd/bridge.c",
        "        dpdk_init(&cfg->other_config);",
        "        dpdk_start();",
    )
    before = content(tree)
    done = apply(tree)
    assert done.returncode == 1 and "do not apply" in done.stderr
    assert content(tree) == before


def test_a_file_in_the_way_is_not_replaced(tree):
    (tree / "lib/netmap.h").write_text("mine\n")
    before = content(tree)
    done = apply(tree)
    assert done.returncode == 1 and "is in the way" in done.stderr
    assert content(tree) == before


def test_news_of_a_point_release_stays(tree):
    news = "v9.9.9 - xx xxx xxxx\n--------------------\n   - Bug fixes\n\n"
    (tree / "NEWS").write_text(news + (tree / "NEWS").read_text())
    before = (tree / "NEWS").read_bytes()
    for _ in range(2):
        done = apply(tree)
        assert done.returncode == 0 and "NEWS: left as it is" in done.stdout
        assert (tree / "NEWS").read_bytes() == before


def test_a_tree_after_git_am_is_up_to_date(tree):
    assert apply(tree).returncode == 0
    (tree / ".ovs-netmap.patch").unlink()
    before = content(tree)
    assert apply(tree).returncode == 0
    (tree / ".ovs-netmap.patch").unlink()
    assert content(tree) == before


def test_a_release_without_patches_gets_those_of_the_one_before(tree):
    newest = list(patches.releases())[-1]
    if f"AC_INIT(openvswitch, {newest}." not in (tree / "configure.ac").read_text():
        pytest.skip("only for the newest release")
    edit(tree / "configure.ac", f"AC_INIT(openvswitch, {newest}.", "AC_INIT(openvswitch, 99.")
    done = apply(tree)
    assert done.returncode == 0 and f"trying those for {newest}" in done.stdout
