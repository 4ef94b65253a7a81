//! The command line as its users run it: words in, text and exit status out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};

/// Runs `kubenet` with words separated by spaces; words with spaces stand in single quotes.
fn kubenet(words: &str, stdin: &str) -> Output {
    let mut all: Vec<String> = vec![String::new()];
    let mut quoted = false;
    for c in words.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => all.push(String::new()),
            c => all.last_mut().expect("never empty").push(c),
        }
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubenet"))
        .args(all)
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubenet starts");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// Standard output, standard error where there is some, and the exit status.
fn check(words: &str, stdin: &str, expect: &Expect) {
    let output = kubenet(words, stdin);
    let mut text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8(output.stderr).expect("text");
    if !errors.is_empty() {
        text += "--- stderr\n";
        text += &errors;
    }
    text += &format!("--- exit {}\n", output.status.code().expect("it was not killed"));
    // Blanks at line ends say nothing.
    let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    expect.assert_eq(&text);
}

const TWO_PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: server}
spec: {nodeName: node-1, containers: [{name: main, ports: [{containerPort: 8080}]}]}
";

#[test]
fn a_trace_tells_the_path_the_answer_the_verdict_and_what_it_rests_on() {
    check(
        "trace -f - pod/client pod/server:8080 --brief",
        TWO_PODS,
        &expect![[r#"
        pod default/client on node-1 (10.244.0.105:40000) → pod default/server on node-1 (10.244.0.35:8080) tcp

        default/client
           1  socket                    sends 10.244.0.105:40000 → 10.244.0.35:8080 tcp SYN ttl 64

        delivered  pod default/server on node-1, port 8080, which sees the source 10.244.0.105
                   Pod default/server spec.containers[0].ports[0] (-:7)

        the answer
        default/server
           1  socket                    sends 10.244.0.35:8080 → 10.244.0.105:40000 tcp SYN+ACK ttl 64

        connected  client is connected

        assuming   a process listens on port 8080 of default/server: it is declared (decides) [closed]
                   pods are connected by the CNI 'bridge' [cni]
                   pods run, are ready and have made-up addresses and places (kubenet plays the control plane) [place]
                   made-up nodes: node-1 [nodes]
        --- exit 0
    "#]],
    );
}

#[test]
fn a_failing_connection_ends_with_status_1() {
    check(
        "trace -f - pod/client pod/server:8080 --brief --closed server:8080",
        TWO_PODS,
        &expect![[r#"
            pod default/client on node-1 (10.244.0.105:40000) → pod default/server on node-1 (10.244.0.35:8080) tcp

            default/client
               1  socket                    sends 10.244.0.105:40000 → 10.244.0.35:8080 tcp SYN ttl 64
            default/server
               2  socket      eth0          drops: nothing listens on tcp port 8080 [NO_SOCKET]  assumed: closed

            rejected   at default/server dev eth0: nothing listens on tcp port 8080 [NO_SOCKET]
                       assumed: closed

            the answer
            default/server
               1  socket                    sends 10.244.0.35:8080 → 10.244.0.105:40000 tcp RST+ACK ttl 64

            refused    client: connection refused

            assuming   pods are connected by the CNI 'bridge' [cni]
                       pods run, are ready and have made-up addresses and places (kubenet plays the control plane) [place]
                       made-up nodes: node-1 [nodes]
            --- exit 1
        "#]],
    );
}

#[test]
fn what_is_not_known_ends_with_status_3_and_says_how_to_find_out() {
    check(
        "trace --example pods pod/client 8.8.8.8:53 --brief",
        "",
        &expect![[r#"
            pod default/client on node-1 (10.244.0.105:40000) → outside 8.8.8.8 (8.8.8.8:53) tcp

            default/client
               1  socket                    sends 10.244.0.105:40000 → 8.8.8.8:53 tcp SYN ttl 64
            node-1
               2  forward     eth0          forwards, ttl 64 → 63
               3  postrouting eth0          snat 10.244.0.105:40000 → 172.18.0.2:65220  assumed: cni
            gateway
               4  forward     eth1          forwards, ttl 63 → 62
               5  postrouting eth1          snat 172.18.0.2:65220 → 203.0.113.1:65220  assumed: nodeNetwork

            delivered  outside internet/8.8.8.8, port 53, which sees the source 203.0.113.1; nothing says whether a process listens

            the answer
            internet/8.8.8.8
               1  socket                    sends 8.8.8.8:53 → 203.0.113.1:65220 tcp SYN+ACK ttl 64
            gateway
               2  prerouting  eth1          un-snat 203.0.113.1:65220 → 172.18.0.2:65220
               3  forward     eth0          forwards, ttl 64 → 63
            node-1
               4  prerouting  eth0          un-snat 172.18.0.2:65220 → 10.244.0.105:40000
               5  forward     cni0          forwards, ttl 63 → 62

            connected  client is connected

            assuming   nothing says whether a process listens on port 53 of internet/8.8.8.8 (decides) [listeners]
                       pods are connected by the CNI 'bridge' [cni]
                       pods run, are ready and have made-up addresses and places (kubenet plays the control plane) [place]
                       made-up nodes: node-1 [nodes]
            --- exit 0
        "#]],
    );
}

#[test]
fn a_question_that_names_nothing_points_at_the_character() {
    check(
        "trace -f - pod/client pod/sever:8080",
        TWO_PODS,
        &expect![[r#"
        --- stderr
        error: no pod 'sever' in namespace 'default'; did you mean 'server'?
        --> DST:1:5
         |
         | pod/sever:8080
         |     ^^^^^
         |
         = help: could be default/pod/server
        --- exit 2
    "#]],
    );
    check(
        "trace -f - pod/client pod/server:99999",
        TWO_PODS,
        &expect![[r#"
        --- stderr
        error: expected a port number from 1 to 65535 or a port's name, found '99999'
        --> DST:1:12
         |
         | pod/server:99999
         |            ^^^^^
        --- exit 2
    "#]],
    );
}

#[test]
fn a_broken_document_is_drawn_and_the_rest_is_loaded() {
    let manifests = format!("{TWO_PODS}---\nkind: Pod\nmetadata: {{name: x}}\nspec: {{containers: 7}}\n");
    check(
        "trace -f - pod/client pod/server:8080 --brief",
        &manifests,
        &expect![[r#"
            pod default/client on node-1 (10.244.0.105:40000) → pod default/server on node-1 (10.244.0.35:8080) tcp

            default/client
               1  socket                    sends 10.244.0.105:40000 → 10.244.0.35:8080 tcp SYN ttl 64

            delivered  pod default/server on node-1, port 8080, which sees the source 10.244.0.105
                       Pod default/server spec.containers[0].ports[0] (-:7)

            the answer
            default/server
               1  socket                    sends 10.244.0.35:8080 → 10.244.0.105:40000 tcp SYN+ACK ttl 64

            connected  client is connected

            assuming   a process listens on port 8080 of default/server: it is declared (decides) [closed]
                       pods are connected by the CNI 'bridge' [cni]
                       pods run, are ready and have made-up addresses and places (kubenet plays the control plane) [place]
                       made-up nodes: node-1 [nodes]
            --- stderr
            error[field]: Pod default/x: spec.containers is the number 7, not a list
              --> -:14:20
               |
            14 | spec: {containers: 7}
               |                    ^ spec.containers

            warning[no-api-version]: Pod default/x has no apiVersion, and kubectl would refuse it
              --> -:12:1
               |
            12 | kind: Pod
               | ^^^^

            --- exit 2
        "#]],
    );
}

#[test]
fn bad_arguments_end_with_status_2() {
    check(
        "trace pod/a pod/b:80",
        "",
        &expect![[r#"
        --- stderr
        error: nothing to load: name manifests with -f PATH, or an example with --example shop
        --- exit 2
    "#]],
    );
    check(
        "trace --example nothing pod/a pod/b:80",
        "",
        &expect![[r#"
        --- stderr
        error: no example 'nothing'; there are shop, pods, dual-stack
        --- exit 2
    "#]],
    );
    check(
        "trace --example pods pod/client pod/server:8080 --fault 'link-up node-1'",
        "",
        &expect![[r#"
        --- stderr
        error: --fault: faults: 'link-up node-1': fault 'link-up node-1': expected link-down, route-removed, route-replaced, neighbour-silent, mtu, ip-forward-off or duplicate-address at character 1, found 'link-up'
        --- exit 2
    "#]],
    );
    check(
        "trace --example pods pod/client pod/server:8080 --assume mtu",
        "",
        &expect![[r#"
        --- stderr
        error: --assume mtu: expected KEY=VALUE, such as mtu=1400
        --- exit 2
    "#]],
    );
    check(
        "trace -f no/such/file pod/a pod/b:80",
        "",
        &expect![[r#"
        --- stderr
        error: no/such/file: No such file or directory (os error 2)
        --- exit 2
    "#]],
    );
}

#[test]
fn names_cannot_speak_to_the_terminal() {
    let manifests = "{apiVersion: v1, kind: Pod, metadata: {name: \"a\\e[31mred\"}}\n";
    let output = kubenet("inventory -f - -v", manifests);
    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{output:?}");

    let manifests = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"nodeName": "n\nconnected"}}"#;
    let output = kubenet("trace -f - pod/a pod/a:80 --brief", manifests);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("pod default/a on n\\nconnected ("), "{text}");
}

#[test]
fn tables_are_printed_as_on_the_machine() {
    check(
        "render --example pods node-1 --as ip-route",
        "",
        &expect![[r#"
        default via 172.18.0.1 dev eth0
        10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1
        10.244.1.0/24 via 172.18.0.3 dev eth0
        172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2
        --- exit 0
    "#]],
    );
    check(
        "render --example pods pod/server --as ip-route --json",
        "",
        &expect![[r#"
        [{"dst":"default","gateway":"10.244.0.1","dev":"eth0","flags":[]},{"dst":"10.244.0.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"10.244.0.35","flags":[]}]
        --- exit 0
    "#]],
    );
    check(
        "render --example pods node-1 --as bridge-fdb --underlay vxlan",
        "",
        &expect![[r#"
        b2:63:38:c7:25:ce dev flannel.1 dst 172.18.0.3 self permanent
        --- exit 0
    "#]],
    );
    check(
        "render --example pods nobody --as ip-route",
        "",
        &expect![[r#"
        --- stderr
        error: no node or pod 'nobody' in namespace 'default'
        --> NODE|POD:1:1
         |
         | nobody
         | ^^^^^^
        --- exit 2
    "#]],
    );
}

#[test]
fn an_inventory_tells_what_was_loaded_and_made_up() {
    check(
        "inventory --example pods",
        "",
        &expect![[r#"
            input manifests: kubenet plays the control plane

            objects
                  2  Pod

            network
              cni                bridge                               assumed
              underlay           host-gw                              assumed
              clusterCidr        10.244.0.0/16                        assumed
              serviceCidr        10.96.0.0/12                         assumed
              nodeNetwork        172.18.0.0/16                        assumed
              nodeCidrMaskV4     24                                   assumed
              nodeCidrMaskV6     64                                   assumed
              mtu                1500                                 assumed
              proxyMode          iptables                             assumed
              proxyVersion       1.36                                 assumed
              detectLocalMode    ClusterCIDR                          assumed
              masqueradeAll      false                                assumed
              nodePortAddresses  all                                  assumed
              localhostNodePorts true                                 assumed
              ipvsScheduler      rr                                   assumed
              policyEnforced     false                                assumed
              sysctls            net.bridge.bridge-nf-call-iptables=1 assumed
              resolver           glibc                                assumed

            nodes (2)
              node-1  172.18.0.2    pods 2    from 10.244.0.0/24  made up
              node-2  172.18.0.3    pods 0    from 10.244.1.0/24  made up

            pods and Services
              2 pods; 0 Services

            diagnostics
              0 errors, 0 warnings, 0 notes (-v tells them too)
            --- exit 0
        "#]],
    );
}

#[test]
fn assumptions_of_an_inventory_load_again_and_change_nothing() {
    let output = kubenet("inventory --example shop -o assumptions --underlay vxlan --nodes 3", "");
    let assumptions = String::from_utf8(output.stdout).expect("text");
    let with = kubenet("trace --example shop -f - deploy/web deploy/cart:7070", &assumptions);
    let without = kubenet("trace --example shop deploy/web deploy/cart:7070 --underlay vxlan --nodes 3", "");
    let path = |output: &Output| {
        let text = String::from_utf8(output.stdout.clone()).expect("text");
        text.split("\nassuming").next().map(str::to_string)
    };
    assert_eq!(path(&with), path(&without));
}

fn schema(name: &str) -> serde_json::Value {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the schema")).expect("JSON")
}

#[test]
fn a_simulation_follows_its_schema_and_its_packets_theirs() {
    let whole = jsonschema::validator_for(&schema("simulation-v1.json")).expect("a schema");
    let packet = jsonschema::validator_for(&schema("trace-v1.json")).expect("a schema");
    let script = "trace deploy/web svc/cart as it\nat 5s delete pod cart-nowhere\nassume proxyMode=nftables\nsend it 10\n";
    let output = kubenet("simulate --example shop - -o json", script);
    assert_eq!(output.status.code(), Some(2), "a line could not be done");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let faults: Vec<String> = whole.iter_errors(&answer).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let steps = answer["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 4);
    for trace in steps.iter().filter_map(|step| step.get("trace")) {
        let faults: Vec<String> = packet.iter_errors(trace).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
    let simulation: kubenet_core::network::Simulation =
        serde_json::from_value(answer.clone()).expect("a simulation");
    assert_eq!(serde_json::to_value(&simulation).expect("JSON"), answer);
}

#[test]
fn json_follows_its_schema() {
    let validator = jsonschema::validator_for(&schema("trace-v1.json")).expect("a schema");
    for question in [
        "trace --example shop deploy/web deploy/cart:7070 --underlay vxlan -o json",
        "trace --example shop deploy/web svc/cart -o json",
        "trace --example shop deploy/web example.org:80 -o json",
        "trace --example dual-stack pod/client pod/server:8080 --family 6 -o json --payload 1000",
        "trace --example shop deploy/web 10.244.0.99:80 -o json",
        "trace --example shop deploy/web deploy/cart --proto icmp --explore -o json --fault 'mtu node-1 dev eth0 1400'",
    ] {
        let output = kubenet(question, "");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let faults: Vec<String> =
            validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path)).collect();
        assert!(faults.is_empty(), "{question}\n{}", faults.join("\n"));
        // Serialised and read back, it is the same.
        let trace: kubenet_core::trace::Trace = serde_json::from_value(answer.clone()).expect("a trace");
        assert_eq!(serde_json::to_value(&trace).expect("JSON"), answer, "{question}");
    }
}

const CART: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {clusterIP: 10.96.0.70, selector: {app: cart}, ports: [{port: 7070}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-0, labels: {app: cart}}
spec: {nodeName: node-1, containers: [{name: main, ports: [{containerPort: 7070}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, labels: {app: cart}}
spec: {nodeName: node-1, containers: [{name: main, ports: [{containerPort: 7070}]}]}
";

/// Writes the rules of node-1 of a cluster into a folder, as a node shows them.
fn dump(folder: &str, manifests: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let output = kubenet("render -f - node-1 --as iptables-save", manifests);
    assert!(output.status.success());
    std::fs::write(folder.join("iptables-save.txt"), output.stdout).expect("a file");
    folder.display().to_string()
}

#[test]
fn drift_tells_in_words_what_a_node_does_not_do_as_called_for() {
    let same = dump("no-drift", CART);
    check(
        &format!("drift -f - --dump node-1={same}"),
        CART,
        &expect![[r#"
            node-1  1 service port compared, kube-proxy in mode iptables
              no drift
              left out   routes: the dump has no ip route
            --- exit 0
        "#]],
    );
    let other = dump("drift", &CART.replace("name: cart-1, labels: {app: cart}", "name: cart-1"));
    check(
        &format!("drift -f - --dump node-1={other}"),
        CART,
        &expect![[r#"
            node-1  1 service port compared, kube-proxy in mode iptables
              drift      Service default/cart:7070 has 2 endpoints, node-1 knows 1: 10.244.0.214:7070 is missing
                         Service default/cart spec.ports[0] (-:2)
              left out   routes: the dump has no ip route
            --- exit 1
        "#]],
    );
    check(
        "drift -f -",
        CART,
        &expect![[r#"
        --- stderr
        error: nothing to compare: name a node's dump with --dump NODE=DIR (docs/collect.sh writes one)
        --- exit 2
    "#]],
    );
}

#[test]
fn the_json_of_drift_follows_its_schema() {
    let validator = jsonschema::validator_for(&schema("drift-v1.json")).expect("a schema");
    let changed = CART.replace("name: cart-1, labels: {app: cart}", "name: cart-1");
    for (folder, manifests) in [
        ("drift-same", CART),
        ("drift-fewer", &*changed),
        ("drift-moved", &CART.replace("96.0.70", "96.0.71")),
    ] {
        let words = format!("drift -f - --dump node-1={} -o json", dump(folder, manifests));
        let output = kubenet(&words, CART);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let faults: Vec<String> =
            validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path)).collect();
        assert!(faults.is_empty(), "{words}\n{}", faults.join("\n"));
        let drift: kubenet_core::drift::Drift = serde_json::from_value(answer.clone()).expect("a drift");
        assert_eq!(serde_json::to_value(&drift).expect("JSON"), answer);
        assert_eq!(output.status.code(), Some(i32::from(drift.is_drift())));
    }
}

#[test]
fn the_same_question_gives_the_same_bytes() {
    let words = "trace --example shop deploy/web deploy/cart:7070 -o json";
    assert_eq!(kubenet(words, "").stdout, kubenet(words, "").stdout);
}

#[test]
fn completions_and_the_manual_page_are_there() {
    for words in ["completions bash", "completions zsh", "completions fish", "man", "examples"] {
        let output = kubenet(words, "");
        assert!(output.status.success() && output.stdout.len() > 50, "{words}");
    }
}
