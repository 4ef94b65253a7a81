//! `docs/collect.sh`, the script that writes a node's dump: what it writes is what a dump is read from.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kubenet_core::addr::Family;
use kubenet_core::network::{Dump, Network};
use kubenet_core::observe::Kind;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/collect.sh")
}

/// The files that the script writes, each with its command.
fn saved() -> Vec<(String, String)> {
    let text = fs::read_to_string(script()).expect("docs/collect.sh").replace("\\\n", " ");
    let commands = text.lines().filter_map(|line| line.strip_prefix("save ")?.split_once(' '));
    commands
        .map(|(file, command)| (file.into(), command.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn the_script_is_posix_shell() {
    let status = Command::new("sh").arg("-n").arg(script()).status().expect("a shell");
    assert!(status.success());
}

#[test]
fn every_table_of_a_dump_is_collected_under_a_name_that_tells_what_it_is() {
    let saved = saved();
    let kinds: BTreeSet<Kind> = saved
        .iter()
        .map(|(file, command)| Kind::of(file, "").unwrap_or_else(|| panic!("{file} ({command})")))
        .collect();
    let wanted = BTreeSet::from([
        Kind::Links,
        Kind::Addresses,
        Kind::Routes,
        Kind::Rules(Family::V4),
        Kind::Rules(Family::V6),
        Kind::Neighbours,
        Kind::Fdb,
        Kind::Sockets,
        Kind::Iptables(Family::V4),
        Kind::Iptables(Family::V6),
        Kind::Nft,
        Kind::Ipsets,
        Kind::Ipvs,
        Kind::Conntrack,
        Kind::Sysctl,
    ]);
    assert_eq!(kinds, wanted);
}

#[test]
fn every_setting_that_is_collected_is_read() {
    let nothing = Network::from_text("none.yaml", "");
    let seen = |text: &str| {
        let files = vec![("sysctl.txt".to_string(), text.to_string())];
        let dump = Dump { node: "node-1".into(), folder: "dump".into(), files };
        let network = nothing.observe(vec![dump]);
        let machine = network.observed().next().expect("a node").clone();
        machine.netns[0].sysctls.clone()
    };
    let all: Vec<(String, String)> =
        saved().into_iter().filter(|(_, command)| command.starts_with("sysctl -e ")).collect();
    let [(_, command)] = &all[..] else { panic!("one command: {all:?}") };
    let keys: Vec<&str> = command.split(' ').skip(2).collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert_ne!(seen(&format!("{key} = 0\n")), seen(&format!("{key} = 7\n")), "{key}");
    }
}

#[test]
fn what_is_not_installed_or_fails_is_named_and_left_out() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("collect");
    if root.exists() {
        fs::remove_dir_all(&root).expect("an old folder");
    }
    let bin = root.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    for tool in ["uname", "mkdir", "head", "rm", "test"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").expect("PATH"))
            .map(|folder| folder.join(tool))
            .find(|path| path.is_file());
        symlink(found.unwrap_or_else(|| panic!("{tool}")), bin.join(tool)).expect("a link");
    }
    for (tool, text) in
        [("ip", "#!/bin/sh\necho \"ip $*\"\n"), ("nft", "#!/bin/sh\necho 'not permitted' >&2\nexit 1\n")]
    {
        let path = bin.join(tool);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let folder = root.join("node-1");
    let run = || {
        let mut command = Command::new("/bin/sh");
        command.arg(script()).arg(&folder).env("PATH", &bin).output().expect("it runs")
    };
    let output = run();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("left out: iptables-save is not installed\n"), "{told}");
    assert!(told.contains("failed: nft list ruleset: not permitted\n"), "{told}");
    let mut files: Vec<String> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("text"))
        .collect();
    files.sort();
    let of_ip = [
        "ip-6-route.txt",
        "ip-6-rule.txt",
        "ip-addr.txt",
        "ip-link.txt",
        "ip-neigh.txt",
        "ip-route.txt",
        "ip-rule.txt",
    ];
    assert_eq!(files, of_ip);
    let routes = fs::read_to_string(folder.join("ip-6-route.txt")).expect("a file");
    assert_eq!(routes, "ip -6 route show table all\n");
    // A folder that is there is not written into.
    assert_eq!(run().status.code(), Some(2));
}
