//! What Linux does to a packet, one behaviour at a time: a host with a few links and the routes that `ip route` prints, one
//! packet, and every event of it. Expected from kernel documentation and from runs of a 6.18 kernel in namespaces.

mod host;
mod ip;
mod link;
mod neighbours;
mod relay;
