//! A namespace in which nothing is chance that the model does not know.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::netns::Netns;

/// A namespace that answers every packet that it should answer: errors are not counted against a limit (`icmp_ratelimit`). What would be
/// chance is not: a neighbour is asked again a little after a segment is repeated (`retrans_time_ms`), and a repeated segment of IPv6
/// takes the same next hop as the first, having no flow label (`auto_flowlabels`). Dropped, all is as it was.
#[derive(Debug)]
pub(super) struct Calm {
    netns: Arc<Netns>,
    before: Vec<(PathBuf, String)>,
}

impl Calm {
    /// A second, and more than the kernel's timer wheel is inexact by.
    const ASK_AGAIN_MILLIS: &str = "1100";

    /// # Errors
    ///
    /// Where a setting that is there cannot be written.
    pub(super) fn begin(netns: Arc<Netns>) -> io::Result<Self> {
        let before = netns.run(|| {
            let mut settings = vec![
                (PathBuf::from("/proc/sys/net/ipv4/icmp_ratelimit"), "0"),
                (PathBuf::from("/proc/sys/net/ipv6/icmp/ratelimit"), "0"),
                (PathBuf::from("/proc/sys/net/ipv6/auto_flowlabels"), "0"),
            ];
            for family in ["ipv4", "ipv6"] {
                // What is of a family is not there where the family is not.
                let Ok(links) = fs::read_dir(format!("/proc/sys/net/{family}/neigh")) else { continue };
                for link in links {
                    settings.push((link?.path().join("retrans_time_ms"), Self::ASK_AGAIN_MILLIS));
                }
            }
            let mut before = Vec::new();
            for (path, value) in settings {
                let Ok(found) = fs::read_to_string(&path) else { continue };
                fs::write(&path, value)?;
                before.push((path, found));
            }
            Ok(before)
        })?;
        Ok(Self { netns, before })
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        // A namespace that is on its way out needs no limits.
        let _ = self.netns.run(|| self.before.iter().try_for_each(|(path, limit)| fs::write(path, limit)));
    }
}
