//! What is wrong with objects, and what that costs.

use alloc::string::ToString;

use expect_test::expect;

use super::{check, errors, load_all, load_one, shown};
use crate::k8s::load::{LoadOptions, Source, load};

#[test]
fn a_fault_costs_the_item_or_field_that_it_is_in() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: [ClusterIP]
  ports:
  - {name: http, port: 80}
  - {name: big, port: 80000}
  - {name: text, port: \"80\"}
  - {name: target, port: 81, targetPort: [1]}
  - no
  publishNotReadyAddresses: 'true'
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: -1
  template:
    spec:
      hostNetwork: maybe
      containers:
      - name: main
        image: {a: b}
        ports: [{containerPort: http}, {containerPort: 80}]
      - name: [x]
";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Deployment default/web (x.yaml:15)
            Service default/web (x.yaml:2)
            x.yaml:6:9: error[field]: Service default/web: spec.type is a list, not text
            x.yaml:9:23: error[field]: Service default/web: spec.ports[1].port is the number 80000, not a whole number from 0 to 65535
            x.yaml:10:24: error[field]: Service default/web: spec.ports[2].port is the text "80", not a number
                help: write 80 without quotes
            x.yaml:11:42: error[field]: Service default/web: spec.ports[3].targetPort is a list, not a number or a name
            x.yaml:12:5: error[field]: Service default/web: spec.ports[4] is the boolean that YAML 1.1 makes of an unquoted no, not a mapping
            x.yaml:13:29: error[field]: Service default/web: spec.publishNotReadyAddresses is the text "true", not true or false
            x.yaml:19:13: error[field]: Deployment default/web: spec.replicas is the number -1, not a whole number from 0 to 4294967295
            x.yaml:22:20: error[field]: Deployment default/web: spec.template.spec.hostNetwork is the text "maybe", not true or false
            x.yaml:25:16: error[field]: Deployment default/web: spec.template.spec.containers[0].image is a mapping, not text
            x.yaml:26:33: error[field]: Deployment default/web: spec.template.spec.containers[0].ports[0].containerPort is the text "http", not a number
            x.yaml:27:15: error[field]: Deployment default/web: spec.template.spec.containers[1].name is a list, not text
        "#]],
    );
    let loaded = load_one("x.yaml", text);
    let service = loaded.objects.services.values().next().expect("a service");
    assert_eq!(service.spec.ports.iter().map(|port| port.port).collect::<alloc::vec::Vec<_>>(), [80]);
    let deployment = loaded.objects.deployments.values().next().expect("a deployment");
    let containers = &deployment.spec.template.spec.containers;
    assert_eq!((containers.len(), containers[0].ports.len()), (1, 1));
}

#[test]
fn where_less_would_mean_more_the_whole_object_is_left_out() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a}
spec:
  podSelector: {}
  ingress:
  - from: [{ipBlock: {cidr: 5}}]
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {selector: {app: web, track: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: c}
spec: []
---
apiVersion: v1
kind: Pod
metadata: {name: 12}
---
apiVersion: v1
kind: Pod
metadata: {name: fine}
";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/fine (x.yaml:24)
            x.yaml:8:29: error[field]: NetworkPolicy default/a: spec.ingress[0].from[0].ipBlock.cidr is the number 5, not text; the NetworkPolicy is left out
                help: write "5"
            x.yaml:13:36: error[field]: Service default/b: spec.selector.track is the number 1, not text; the Service is left out
                help: write "1"
            x.yaml:18:7: error[field]: Pod default/c: spec is a list, not a mapping; the Pod is left out
            x.yaml:22:18: error[field]: Pod: metadata.name is the number 12, not text; the Pod is left out
                help: write "12"
        "#]],
    );
}

#[test]
fn json_tells_the_same_faults_in_the_same_places() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "wéb"},
   "spec": {"ports": [{"port": 80, "name": null}, {"port": 80000}], "type": 5}},
  {"metadata": {"name": "p"}, "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "q\u0041", "labels": null}},
  7, null
]}"#;
    check(
        "x.json",
        text,
        expect![[r#"
            Pod default/qA (x.json:4)
            Service default/wéb (x.json:2)
            x.json:3:60: error[field]: Service default/wéb: spec.ports[1].port is the number 80000, not a whole number from 0 to 65535
            x.json:3:77: error[field]: Service default/wéb: spec.type is the number 5, not text
                help: write "5"
            x.json:4:66: warning[duplicate-key]: the key metadata stands twice in one mapping; the last one counts
                the first one is here: x.json:4:4
            x.json:5:3: error[no-object]: an item of a list that is no object
        "#]],
    );
}

#[test]
fn objects_without_kind_name_or_version_are_told() {
    let text = "
apiVersion: v1
metadata: {name: a}
---
kind: Pod
metadata: {name: b}
---
apiVersion: v1
kind: Pod
metadata: {generateName: c-}
---
services: {web: {image: nginx}}
---
just text
---
apiVersion: v1
kind: Service
";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/b (x.yaml:5)
            x.yaml:2:1: error[no-kind]: an object without a kind
                help: say what it is, such as kind: Pod
            x.yaml:5:1: warning[no-api-version]: Pod default/b has no apiVersion, and kubectl would refuse it
            x.yaml:8:1: error[no-name]: a Pod without metadata.name
                help: give it a name; of generateName only the API server makes one
            x.yaml:12:1: note[no-object]: x.yaml has a document that is no Kubernetes object
            x.yaml:16:1: error[no-name]: a Service without metadata.name
                help: give it a name; of generateName only the API server makes one
        "#]],
    );
}

#[test]
fn the_same_object_twice_is_told_and_the_last_counts() {
    let a = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1}\n";
    let b = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\nspec: {clusterIP: 10.0.0.2}\n";
    let loaded = load_all(&[("a.yaml", a.as_bytes()), ("b.yaml", b.as_bytes())]);
    expect![[r#"
        Service default/a (b.yaml:1)
        b.yaml:1:1: warning[duplicate-object]: Service default/a stands twice; the last one counts
            the first one is here: a.yaml:1:1
    "#]]
    .assert_eq(&shown(&loaded));
    let service = loaded.objects.services.values().next().expect("a service");
    assert_eq!(service.spec.cluster_ip.as_deref(), Some("10.0.0.2"));
}

#[test]
fn one_object_that_was_dumped_twice_is_no_mistake() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: 1-2}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: 1-2}\n";
    let loaded = load_one("x.yaml", text);
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(loaded.objects.pods.len(), 1);
}

#[test]
fn kinds_of_foreign_groups_are_other_kinds() {
    let text = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: a, namespace: x}
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: b}
---
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: c}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Deployment default/c (x.yaml:10)
            other serving.knative.dev/v1 Service x/a (x.yaml:2)
            other crd.projectcalico.org/v1 NetworkPolicy b (x.yaml:6)
            other kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration  (x.yaml:14)
        "#]],
    );
}

#[test]
fn old_shapes_of_ingresses_and_endpoints_load() {
    let loaded = load_one(
        "x.yaml",
        "
apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata: {name: a}
spec:
  backend: {serviceName: web, servicePort: 80}
  rules: [{http: {paths: [{path: /, backend: {serviceName: api, servicePort: http}}]}}]
---
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: b}
endpoints: [{addresses: [10.0.0.1], topology: {kubernetes.io/hostname: node-1}}]
",
    );
    assert_eq!(errors(&loaded), [""; 0]);
    let ingress = &loaded.objects.ingresses.values().next().expect("an ingress").spec;
    let of = |backend: &crate::k8s::types::IngressBackend| backend.service.clone().expect("a service");
    let default = of(ingress.default_backend.as_ref().expect("a default"));
    assert_eq!((&*default.name, default.port.number), ("web", Some(80)));
    let path = of(&ingress.rules[0].http.as_ref().expect("paths").paths[0].backend);
    assert_eq!((&*path.name, path.port.name.as_deref()), ("api", Some("http")));
    let slice = loaded.objects.endpoint_slices.values().next().expect("a slice");
    assert_eq!(slice.endpoints[0].node_name.as_deref(), Some("node-1"));
}

#[test]
fn the_default_namespace_is_that_of_the_options() {
    let bytes = b"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}\n{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n\"}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n";
    let options = LoadOptions { default_namespace: Some("shop".into()), ..LoadOptions::default() };
    let loaded = load(&[Source { name: "-", bytes }], &options);
    expect![[r#"
        Node n (-:2)
        Pod shop/a (-:1)
        Pod shop/b (-:4)
    "#]]
    .assert_eq(&shown(&loaded));
}

#[test]
fn assumptions_are_joined_and_told_field_by_field() {
    let text = "
apiVersion: kubenet/v1
kind: Assumptions
spec: {cni: flannel, nodes: 3, closed: ['default/a:1']}
---
apiVersion: kubenet/v1
kind: Assumptions
metadata: {name: more}
spec:
  nodes: 4
  cnii: kindnet
  clusterCidr: 10.244.0.0/33
  closed: ['default/b:2', nonsense]
";
    let loaded = load_one("x.yaml", text);
    expect![[r#"
        x.yaml:11:3: error[field]: Assumptions more: spec.cnii is no field here; use one of cni, underlay, clusterCidr, serviceCidr, nodeNetwork, nodeCidrMaskV4, nodeCidrMaskV6, mtu, proxyMode, proxyVersion, detectLocalMode, masqueradeAll, nodePortAddresses, localhostNodePorts, ipvsScheduler, policyEnforced, sysctls, resolver, nodes, place, pods, replicas, listeners, closed, faults
        x.yaml:12:16: error[field]: Assumptions more: spec.clusterCidr '10.244.0.0/33' is not a prefix, such as 10.244.0.0/16
        x.yaml:13:27: error[field]: Assumptions more: spec.closed[1] 'nonsense' does not name a port of a pod; write [NAMESPACE/]POD:PORT[/PROTOCOL], such as shop/cart-0:7070 or web:53/udp
    "#]]
    .assert_eq(&shown(&loaded));
    let assume = loaded.assume.expect("assumptions");
    assert_eq!((assume.nodes, assume.cni.map(|cni| cni.to_string())), (Some(4), Some("flannel".into())));
    assert_eq!(assume.closed.len(), 2);
}

#[test]
fn templates_and_kustomizations_are_answered_with_the_pipe() {
    let chart = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.name }}\nspec:\n{{- if .Values.x }}\n  type: NodePort\n{{- end }}\n";
    check(
        "shop/templates/service.yaml",
        chart,
        expect![[r#"
            shop/templates/service.yaml:4:9: error[helm-template]: shop/templates/service.yaml is a template, not a manifest
                help: render it first, a Helm chart with: helm template RELEASE shop | kubenet … -f -
        "#]],
    );
    check(
        "x.json",
        "{\"kind\": \"Pod\", \"x\": {{ toJson .Values.x }}}",
        expect![[r#"
            x.json:1:22: error[helm-template]: x.json is a template, not a manifest
                help: render it first, a Helm chart with: helm template RELEASE CHART | kubenet … -f -
        "#]],
    );
    check(
        "x.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"{{ .Release.Name }}-web\"\n",
        expect![[r#"
            x.yaml:1:1: error[helm-template]: x.yaml is a template, not a manifest
                help: render it first, a Helm chart with: helm template RELEASE CHART | kubenet … -f -
        "#]],
    );
    check(
        "base/kustomization.yaml",
        "resources: [web.yaml]\nnamePrefix: x-\n",
        expect![[r#"
            base/kustomization.yaml:1:1: warning[kustomization]: base/kustomization.yaml is a kustomization: it says how to change manifests, which are loaded here without the change
                help: render it first: kubectl kustomize base | kubenet … -f -
        "#]],
    );
    check(
        "-",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
        expect![[r#"
            -:1:1: warning[kustomization]: - is a kustomization: it says how to change manifests, which are loaded here without the change
                help: render it first: kubectl kustomize DIR | kubenet … -f -
        "#]],
    );
}

#[test]
fn manifests_that_hold_templates_in_strings_are_manifests() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: injector, namespace: istio-system}\ndata:\n  config: |\n    {{- if .Values.x }}\n    a: {{ .Values.y }}\n    {{- end }}\n";
    let loaded = load_one("x.yaml", text);
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(loaded.objects.config_maps.len(), 1);
}
