//! EndpointSlices of the input that contradict its pods.

use alloc::format;
use alloc::vec::Vec;

use super::{Endpoint, EndpointSlice, read_slice};
use crate::cluster::Cluster;
use crate::origin::Diagnostic;

/// Endpoints whose pod is gone, has another address, or is not ready any more. O(endpoints × log pods).
pub(in crate::cluster) fn stale(cluster: &Cluster) -> Vec<Diagnostic> {
    // Without pods nothing contradicts.
    if cluster.pods.is_empty() {
        return Vec::new();
    }
    let slices = cluster.objects.endpoint_slices.values().filter_map(read_slice);
    let mut log = Vec::new();
    for slice in slices {
        for endpoint in &slice.endpoints {
            log.extend(stale_endpoint(cluster, &slice, endpoint));
        }
    }
    log
}

fn stale_endpoint(cluster: &Cluster, slice: &EndpointSlice, endpoint: &Endpoint) -> Option<Diagnostic> {
    let (namespace, name) = endpoint.pod.as_ref()?;
    let addr = endpoint.addresses.first()?;
    let place = format!("endpointslice {}/{}: {addr}", slice.namespace, slice.name);
    let found = cluster.pod_named(namespace, name).and_then(|at| cluster.pods.get(at as usize));
    let message = match found {
        // A snapshot without any pod of the namespace was collected without them.
        None if !has_pods(cluster, namespace) => return None,
        None => format!("{place} is of pod {namespace}/{name}, which does not exist"),
        Some(pod) if pod.terminal => format!("{place} is of pod {namespace}/{name}, which has ended"),
        Some(pod) if !pod.addresses.is_empty() && !pod.addresses.contains(addr) => {
            let has = super::super::check::list_addresses(&pod.addresses);
            format!("{place} is not an address of its pod {namespace}/{name}, which has {has}")
        }
        Some(pod) if endpoint.ready && !publishes(cluster, slice) => match (pod.ready, pod.terminating) {
            (true, false) => return None,
            (false, _) => format!("{place} is ready, but its pod {namespace}/{name} is not"),
            (true, true) => format!("{place} is ready, but its pod {namespace}/{name} is being deleted"),
        },
        Some(_) => return None,
    };
    let related = found.and_then(|pod| pod.origin.location().cloned());
    Some(
        Diagnostic::warning("stale-endpoint", message)
            .from_origin(&endpoint.origin)
            .related("the pod stands here", related)
            .help("the slice is older than the pod; kube-proxy goes by the slice"),
    )
}

/// Whether any pod of a namespace is there. Pods are sorted by namespace.
fn has_pods(cluster: &Cluster, namespace: &str) -> bool {
    let at = cluster.pods.partition_point(|pod| *pod.namespace < *namespace);
    cluster.pods.get(at).is_some_and(|pod| *pod.namespace == *namespace)
}

/// The Service lists pods whether they are ready or not.
fn publishes(cluster: &Cluster, slice: &EndpointSlice) -> bool {
    let service = cluster.objects.services.get(&(slice.namespace.clone(), slice.service.clone()));
    service.is_some_and(|service| service.spec.publish_not_ready_addresses)
}
