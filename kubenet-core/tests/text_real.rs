//! Dumps that nobody here wrote are read without an error.
//!
//! Runs where the folder is: `$KUBENET_SHARED/real`, or `shared/real` beside the repository.

use std::path::{Path, PathBuf};

use kubenet_core::addr::Family;
use kubenet_core::origin::{Diagnostic, Severity};
use kubenet_core::plan::LinkKind;
use kubenet_core::text::iptables_save::{self, Dialect};
use kubenet_core::text::{ip_route, ipset, ipvsadm, nmstate};

fn real(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/real");
    #[expect(clippy::disallowed_methods, reason = "a test reads its environment")]
    let named = std::env::var("KUBENET_SHARED").ok().map(|shared| Path::new(&shared).join("real"));
    named.into_iter().chain([beside]).map(|real| real.join(name)).find(|path| path.exists())
}

#[expect(clippy::disallowed_methods, reason = "a test reads its files")]
fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        folder.read_dir().expect("a readable folder").filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let read = |path: &PathBuf| Some((path.display().to_string(), std::fs::read_to_string(path).ok()?));
    paths.iter().filter_map(read).collect()
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    diagnostics.iter().filter(|d| d.severity == Severity::Error).collect()
}

#[test]
fn routes_of_other_machines_are_read_whole_and_printed_again() {
    let Some(folder) = real("jc-linux") else { return };
    for (file, text) in texts(&folder).into_iter().filter(|(file, _)| file.contains("ip_route")) {
        let parsed = ip_route::parse(&text, &file);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        assert_eq!(ip_route::render(&parsed.items).lines().collect::<Vec<_>>(), lines, "{file}");
        let loaded = ip_route::load_table(parsed);
        assert!(errors(&loaded.diagnostics).is_empty(), "{:?}", loaded.diagnostics);
    }
}

/// The lines of a text, blanks aside where there are several.
fn spaced(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn rules_of_other_nodes_are_read_whole_and_printed_again() {
    for (folder, file_part) in [("azure-aks-npm", "iptablesave"), ("iptables-plain", "tables-save")] {
        let Some(folder) = real(folder) else { return };
        for (file, text) in texts(&folder).into_iter().filter(|(file, _)| file.contains(file_part)) {
            let family = iptables_save::family_of(&text).unwrap_or(Family::V4);
            let parsed = iptables_save::parse(&text, &file, family);
            assert!(errors(&parsed.diagnostics).is_empty(), "{:?}", parsed.diagnostics);
            let printed = iptables_save::render(&parsed.items, Dialect::of(&text));
            let rules: Vec<String> =
                spaced(&text).into_iter().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
            assert_eq!(spaced(&printed), rules, "{file}");
        }
    }
}

#[test]
fn sets_of_other_nodes_are_read_whole_and_printed_again() {
    let Some(folder) = real("kube-router-ipset") else { return };
    for (file, text) in texts(&folder).into_iter().filter(|(file, _)| file.contains("ipset_save")) {
        let parsed = ipset::parse(&text, &file);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        assert_eq!(spaced(&ipset::render(&parsed.items)), spaced(&text), "{file}");
    }
}

#[test]
fn virtual_servers_of_other_nodes_are_read_whole_and_printed_again() {
    let Some(folder) = real("procfs-ipvs") else { return };
    for (file, text) in texts(&folder).into_iter().filter(|(file, _)| file.ends_with("ip_vs")) {
        let parsed = ipvsadm::parse_any(&text, &file);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        assert_eq!(spaced(&ipvsadm::render_table(&parsed.items)), spaced(&text), "{file}");
        let saved = ipvsadm::render(&parsed.items);
        assert_eq!(ipvsadm::parse(&saved, "x").items.len(), parsed.items.len(), "{saved}");
    }
}

#[test]
fn nmstate_of_other_nodes_gives_its_interfaces_and_routes() {
    let Some(folder) = real("insights-nmstate") else { return };
    for (file, text) in texts(&folder) {
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let state = nmstate::parse(&text, &file);
        assert!(errors(&state.diagnostics).is_empty(), "{:?}", state.diagnostics);
        let current = &value["status"]["currentState"];
        let running = current["routes"]["running"].as_array().expect("routes");
        assert_eq!(state.routes.len(), running.len(), "{file}");
        for (route, running) in state.routes.iter().zip(running) {
            assert_eq!(Some(route.dst.to_string()), running["destination"].as_str().map(String::from));
            let dev = route.next_hops[0].dev.as_deref();
            assert_eq!(dev, running["next-hop-interface"].as_str());
            assert!(state.links.iter().any(|link| Some(&*link.name) == dev), "{file}: {dev:?}");
        }
        // Every interface but Open vSwitch's own bridges and patch ports is a link, with all its addresses.
        let interfaces = current["interfaces"].as_array().expect("interfaces");
        let of_kernel: Vec<_> = interfaces
            .iter()
            .filter(|i| i["type"] != "ovs-bridge" && i["patch"].is_null())
            .map(|i| i["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(state.links.iter().map(|link| &*link.name).collect::<Vec<_>>(), of_kernel, "{file}");
        let addresses: usize = state.links.iter().map(|link| link.addresses.len()).sum();
        assert_eq!(addresses, text.matches("\"ip\":").count(), "{file}");
        assert!(state.links.iter().any(|link| link.kind == LinkKind::Loopback));
    }
}
