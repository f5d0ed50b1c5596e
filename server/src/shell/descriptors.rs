//! File descriptors: every media leg takes two, every TCP connection one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit as far as `needed`, or as far as the hard limit lets it. Returns the limit that holds.
pub(crate) fn raise(needed: u64) -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(soft);
    }
    let wanted = needed.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}

/// What a server of this size needs: two legs a call with two descriptors each, as many ringing branches and
/// leases in advance again, its connections, and room for files.
pub(crate) fn needed(calls: usize, connections: usize) -> u64 {
    (calls as u64)
        .saturating_mul(8)
        .saturating_add(connections as u64)
        .saturating_add(256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_suffices_stays() {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise(1).unwrap(), soft);
    }

    #[test]
    fn the_hard_limit_is_the_end() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(raise(u64::MAX).unwrap() <= hard);
    }
}
