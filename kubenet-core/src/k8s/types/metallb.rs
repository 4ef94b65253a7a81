//! Address pools of MetalLB and who hears of their addresses (`metallb.io/v1beta1`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::meta::{LabelSelector, ObjectMeta};
use super::read::{list, nullable, texts};

/// A pool of addresses for Services of type `LoadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IPAddressPool {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is in it.
    #[serde(deserialize_with = "nullable")]
    pub spec: IPAddressPoolSpec,
}

/// `IPAddressPool.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// Prefixes, or `FIRST-LAST`.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Arc<str>>,
    /// Whether Services that do not ask for it get addresses of it; yes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_assign: Option<bool>,
    /// IPv4 addresses that end in .0 and .255 are left out.
    #[serde(rename = "avoidBuggyIPs", deserialize_with = "nullable")]
    pub avoid_buggy_ips: bool,
}

/// One node answers ARP and NDP for addresses of pools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct L2Advertisement {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// Which pools and nodes.
    #[serde(deserialize_with = "nullable")]
    pub spec: AdvertisementSpec,
}

/// Nodes tell routers by BGP that addresses of pools are behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BGPAdvertisement {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// Which pools and nodes.
    #[serde(deserialize_with = "nullable")]
    pub spec: AdvertisementSpec,
}

/// What both kinds of advertisement say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AdvertisementSpec {
    /// Names of pools. All pools where there is neither a name nor a selector.
    #[serde(rename = "ipAddressPools", deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<Arc<str>>,
    /// Selects pools by label; one of them must match.
    #[serde(
        rename = "ipAddressPoolSelectors",
        deserialize_with = "list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Selects nodes by label; one of them must match. All nodes where there is none.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
}
