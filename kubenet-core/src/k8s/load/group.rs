//! Which API groups serve the kinds that are read.
//!
//! A kind of the same name in another group is another kind: `serving.knative.dev/v1 Service`, `crd.projectcalico.org/v1
//! NetworkPolicy`. Groups that served a kind once (`extensions/v1beta1` until 1.22) still count: dumps and charts of that time exist,
//! and the fields that are read did not change, or are read under both names.

/// Whether an `apiVersion` is one of those that serve a kind that is read.
pub(in crate::k8s) fn serves(api_version: &str, kind: &str) -> bool {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let groups: &[&str] = match kind {
        "Node" | "Namespace" | "Pod" | "ReplicationController" | "Service" | "Endpoints" | "ConfigMap" => {
            return group.is_empty() && version == "v1";
        }
        "Deployment" | "ReplicaSet" | "DaemonSet" => &["apps", "extensions"],
        "StatefulSet" => &["apps"],
        "Job" | "CronJob" => &["batch"],
        "EndpointSlice" => &["discovery.k8s.io"],
        "NetworkPolicy" | "Ingress" => &["networking.k8s.io", "extensions"],
        "IngressClass" => &["networking.k8s.io"],
        "IPAddressPool" | "L2Advertisement" | "BGPAdvertisement" => &["metallb.io"],
        _ => return false,
    };
    groups.contains(&group)
}

#[cfg(test)]
mod tests {
    use super::serves;
    use crate::k8s::AnyObject;

    #[test]
    fn a_kind_counts_only_in_its_own_groups() {
        assert!(serves("v1", "Service"));
        assert!(serves("extensions/v1beta1", "Deployment"));
        assert!(serves("extensions/v1beta1", "Ingress"));
        assert!(serves("networking.k8s.io/v1", "NetworkPolicy"));
        assert!(!serves("serving.knative.dev/v1", "Service"));
        assert!(!serves("crd.projectcalico.org/v1", "NetworkPolicy"));
        assert!(!serves("cluster.x-k8s.io/v1", "Machine"));
        assert!(!serves("example.com/v1", "Pod"));
        assert!(!serves("apps/v1", "Pod"));
    }

    #[test]
    fn every_kind_that_is_read_has_a_group() {
        let versions = [
            "v1",
            "apps/v1",
            "batch/v1",
            "discovery.k8s.io/v1",
            "networking.k8s.io/v1",
            "metallb.io/v1beta1",
        ];
        for kind in AnyObject::KINDS {
            assert!(versions.iter().any(|version| serves(version, kind)), "{kind}");
        }
    }
}
