//! A port of a pod, as listeners and closed ports are named: `[NAMESPACE/]POD:PORT[/PROTOCOL]`.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::addr::Protocol;

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRef {
    /// The pod's namespace; `None` for the default one of the question.
    pub namespace: Option<Arc<str>>,
    /// The pod's name.
    pub pod: Arc<str>,
    /// The port.
    pub port: u16,
    /// The transport; TCP when not said.
    pub protocol: Protocol,
}

/// The text does not name a port of a pod.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error(
    "'{0}' does not name a port of a pod; write [NAMESPACE/]POD:PORT[/PROTOCOL], such as shop/cart-0:7070 or web:53/udp"
)]
pub struct PortRefError(pub String);

impl FromStr for PortRef {
    type Err = PortRefError;

    fn from_str(text: &str) -> Result<Self, PortRefError> {
        let fail = || PortRefError(text.into());
        let (pod, port) = text.rsplit_once(':').ok_or_else(fail)?;
        let (namespace, pod) = match pod.split_once('/') {
            Some((namespace, pod)) => (Some(namespace), pod),
            None => (None, pod),
        };
        let (port, protocol) = match port.split_once('/') {
            Some((port, protocol)) => (port, protocol.parse().map_err(|_| fail())?),
            None => (port, Protocol::Tcp),
        };
        let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(fail)?;
        if pod.is_empty() || pod.contains(['/', ':']) || namespace == Some("") || protocol == Protocol::Icmp {
            return Err(fail());
        }
        Ok(Self { namespace: namespace.map(Arc::from), pod: pod.into(), port, protocol })
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}:{}", self.pod, self.port)?;
        if self.protocol != Protocol::Tcp {
            write!(f, "/{}", self.protocol)?;
        }
        Ok(())
    }
}

impl Serialize for PortRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
