// SPDX-License-Identifier: Apache-2.0
//! How much memory this process may still take: what the machine has available, and what each control
//! group above the process leaves, version 1 and 2.
//!
//! Packet buffers are touched when they are mapped and locked then, so there is no taking back. Where
//! they do not fit, the kernel would end the process instead of refusing them, and again at each start.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What must be left beside the buffers: packets, rings, the caches of threads, Open vSwitch itself.
const MARGIN: u64 = 32 << 20;

/// Refuses `wanted` bytes of packet buffers that there is no memory for.
pub fn check(wanted: u64) -> Result<()> {
    check_in(Path::new("/"), wanted)
}

fn check_in(root: &Path, wanted: u64) -> Result<()> {
    let needed = wanted.saturating_add(MARGIN);
    let tight = limits(root).into_iter().find(|limit| limit.left < needed);
    let Some(Limit { whose, left }) = tight else {
        return Ok(());
    };
    Err(Error::new(
        libc::ENOMEM,
        format!(
            "{} MB of packet buffers do not fit: {whose} has {} MB left, and {} MB more must stay \
             free: give it more memory, or lower other_config:netmap-region-bufs and restart \
             ovs-vswitchd",
            wanted >> 20,
            left >> 20,
            MARGIN >> 20,
        ),
    ))
}

/// What somebody has left.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    whose: String,
    left: u64,
}

/// All limits that can be read; what cannot be read is no limit.
fn limits(root: &Path) -> Vec<Limit> {
    let mut limits = Vec::new();
    if let Some(kb) = number_after(&read(&root.join("proc/meminfo")), "MemAvailable:") {
        limits.push(Limit {
            whose: "the machine".into(),
            left: kb.saturating_mul(1024),
        });
    }
    for line in read(&root.join("proc/self/cgroup")).lines() {
        // "0::/a/b" in version 2, "N:memory,x:/a/b" in version 1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let version = match controllers {
            "" => &V2,
            list if list.split(',').any(|name| name == "memory") => &V1,
            _ => continue,
        };
        if let Some((mount, group)) = directory(root, version, path) {
            limits.extend(limits_of(version, &mount, &group));
        }
    }
    limits
}

/// Where control groups of `version` are mounted, and the directory of `group` there. In a mount
/// namespace with another /sys, as "ip netns exec" makes it, only the processes see them that it was
/// made from: the ancestors of this one.
fn directory(root: &Path, version: &Version, group: &str) -> Option<(PathBuf, PathBuf)> {
    let seen_by = |process: PathBuf, its_root: PathBuf| {
        let (mount, top) = mount_of(&read(&process.join("mountinfo")), version)?;
        // A container sees its own group as the top.
        let group = group.strip_prefix(top.as_str()).unwrap_or(group);
        let mount = its_root.join(mount.trim_start_matches('/'));
        let group = mount.join(group.trim_start_matches('/'));
        group
            .join("cgroup.procs")
            .exists()
            .then_some((mount, group))
    };
    let proc = root.join("proc");
    seen_by(proc.join("self"), root.to_owned()).or_else(|| {
        ancestors(&proc).find_map(|process| {
            let its_root = process.join("root");
            seen_by(process, its_root)
        })
    })
}

/// The directories of the ancestors of this process, from its parent up.
fn ancestors(proc: &Path) -> impl Iterator<Item = PathBuf> {
    let parent_of = |process: &Path| {
        let parent = number_after(&read(&process.join("status")), "PPid:")?;
        (parent > 0).then(|| proc.join(parent.to_string()))
    };
    std::iter::successors(parent_of(&proc.join("self")), move |process| {
        parent_of(process)
    })
}

/// The files of a version of control groups.
struct Version {
    filesystem: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// What of the usage can be taken back: clean pages of files.
    reclaimable: &'static str,
}

const V1: Version = Version {
    filesystem: "cgroup",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};
const V2: Version = Version {
    filesystem: "cgroup2",
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: "inactive_file",
};

/// Where the control groups of `version` that count memory are mounted, and which group is seen there.
fn mount_of(mounts: &str, version: &Version) -> Option<(String, String)> {
    mounts.lines().find_map(|line| {
        // "ID PARENT DEVICE ROOT MOUNT OPTIONS [MORE] - TYPE SOURCE SUPER-OPTIONS"
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (top, mount) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (filesystem, options) = (after.next()?, after.nth(1)?);
        let memory = options.split(',').any(|option| option == "memory");
        let found = filesystem == version.filesystem && (filesystem == "cgroup2" || memory);
        found.then(|| (mount.to_owned(), top.to_owned()))
    })
}

/// The limits of `group` and all groups that it is in, up to `mount`.
fn limits_of(version: &Version, mount: &Path, group: &Path) -> Vec<Limit> {
    let ancestors = group.ancestors().take_while(|dir| dir.starts_with(mount));
    ancestors
        .filter_map(|dir| {
            // "max" is no number, and no limit.
            let limit: u64 = read(&dir.join(version.limit)).trim().parse().ok()?;
            let usage: u64 = read(&dir.join(version.usage)).trim().parse().ok()?;
            let stat = read(&dir.join("memory.stat"));
            let reclaimable = number_after(&stat, version.reclaimable).unwrap_or(0);
            let used = usage.saturating_sub(reclaimable);
            let name = dir.strip_prefix(mount).unwrap_or(dir);
            Some(Limit {
                whose: format!("the control group /{}", name.display()),
                left: limit.saturating_sub(used),
            })
        })
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number in the line of `text` that begins with `word`.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| {
        let number = (words.next()? == word).then(|| words.next())??;
        number.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with 1 GB, and `files` in its file system.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str, files: &[(&str, &str)]) -> Machine {
            let pid = std::process::id();
            let root = std::env::temp_dir().join(format!("memory-left-{name}-{pid}"));
            let machine = Machine(root);
            machine.write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable: 1048576 kB\n");
            for (path, text) in files {
                machine.write(path, text);
            }
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MB: u64 = 1 << 20;

    #[test]
    fn the_machine_is_a_limit() {
        let machine = Machine::new("plain", &[]);
        assert!(check_in(&machine.0, 900 * MB).is_ok());
        let error = check_in(&machine.0, 1000 * MB).unwrap_err();
        assert_eq!(error.errno(), libc::ENOMEM);
        let text = error.to_string();
        assert!(
            text.contains("1000 MB") && text.contains("the machine has 1024 MB"),
            "{text}"
        );
        assert!(text.contains("netmap-region-bufs"), "{text}");
        // Nothing can be read: nothing is known against it.
        assert!(check_in(Path::new("/nonesuch"), u64::MAX).is_ok());
        assert!(check(1).is_ok());
    }

    #[test]
    fn so_is_each_group_of_version_2() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let machine = Machine::new(
            "v2",
            &[
                ("proc/self/mountinfo", mounts),
                ("proc/self/cgroup", "0::/system.slice/ovs.service\n"),
                ("sys/fs/cgroup/system.slice/ovs.service/cgroup.procs", ""),
                ("sys/fs/cgroup/system.slice/memory.max", "209715200\n"),
                ("sys/fs/cgroup/system.slice/memory.current", "104857600\n"),
                (
                    "sys/fs/cgroup/system.slice/memory.stat",
                    "anon 5\ninactive_file 52428800\n",
                ),
                ("sys/fs/cgroup/system.slice/ovs.service/memory.max", "max\n"),
                (
                    "sys/fs/cgroup/system.slice/ovs.service/memory.current",
                    "104857600\n",
                ),
            ],
        );
        // 200 - (100 - 50) = 150, of which 32 stay free.
        assert!(check_in(&machine.0, 118 * MB).is_ok());
        let error = check_in(&machine.0, 119 * MB).unwrap_err().to_string();
        assert!(
            error.contains("the control group /system.slice has 150 MB"),
            "{error}"
        );
    }

    #[test]
    fn so_is_each_group_of_version_1_in_a_container() {
        let mounts = "29 24 0:25 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let machine = Machine::new(
            "v1",
            &[
                ("proc/self/mountinfo", mounts),
                (
                    "proc/self/cgroup",
                    "4:cpu:/docker/x\n3:memory:/docker/x/ovs\n0::/\n",
                ),
                // Hidden by another /sys.
                ("proc/self/status", "Name: x\nPPid:\t77\n"),
                ("proc/77/status", "Name: y\nPPid:\t1\n"),
                ("proc/1/status", "PPid:\t0\n"),
                ("proc/1/mountinfo", mounts),
                ("proc/1/root/sys/fs/cgroup/memory/ovs/cgroup.procs", ""),
            ],
        );
        for (file, text) in [
            ("memory.limit_in_bytes", "167772160\n"),
            ("memory.usage_in_bytes", "52428800\n"),
            ("ovs/memory.limit_in_bytes", "9223372036854771712\n"),
            ("ovs/memory.usage_in_bytes", "41943040\n"),
        ] {
            machine.write(&format!("proc/1/root/sys/fs/cgroup/memory/{file}"), text);
        }
        assert!(check_in(&machine.0, 78 * MB).is_ok());
        let error = check_in(&machine.0, 79 * MB).unwrap_err().to_string();
        assert!(error.contains("the control group / has 110 MB"), "{error}");
    }
}
