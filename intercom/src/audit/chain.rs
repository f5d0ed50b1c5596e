//! The hash chain: `hash(n) = SHA-256(hash(n-1) || canonical(n))`.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::Entry;

/// A link's hash, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// The hash before the first record of `site`'s chain.
    #[must_use]
    pub fn genesis(site: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"doorward audit chain 1\n");
        hasher.update(site.as_bytes());
        Self(hasher.finalize().into())
    }

    /// The hash of the record that follows `self`.
    #[must_use]
    pub fn next(&self, canonical: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(canonical.as_bytes());
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ChainHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a chain hash is 64 hexadecimal digits";
        if text.len() != 64 || !text.is_ascii() {
            return Err(WRONG);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(hash))
    }
}

/// One committed record: what the store keeps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Place in the chain, from 1 without gaps.
    pub seq: u64,
    /// `SHA-256(previous hash || canonical)`.
    pub hash: ChainHash,
    /// The record's canonical form.
    pub canonical: String,
}

/// The growing end of a site's chain. One writer owns it.
#[derive(Clone, Debug)]
pub struct Chain {
    site: String,
    seq: u64,
    head: ChainHash,
}

impl Chain {
    /// An empty chain.
    #[must_use]
    pub fn new(site: &str) -> Self {
        Self {
            site: site.to_owned(),
            seq: 0,
            head: ChainHash::genesis(site),
        }
    }

    /// A chain that goes on after record `seq` with hash `head`, as found in the store.
    #[must_use]
    pub fn resume(site: &str, seq: u64, head: ChainHash) -> Self {
        Self {
            site: site.to_owned(),
            seq,
            head,
        }
    }

    /// The site whose chain this is.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Number of records so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.seq
    }

    /// No record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seq == 0
    }

    /// Hash of the last record.
    #[must_use]
    pub fn head(&self) -> ChainHash {
        self.head
    }

    /// Adds `entry`: sets its place, returns what is to be stored. A batch that fails to commit is undone by going
    /// back to a clone taken before it.
    pub fn append(&mut self, mut entry: Entry) -> Link {
        self.seq += 1;
        entry.seq = self.seq;
        let canonical = entry.canonical();
        self.head = self.head.next(&canonical);
        Link {
            seq: self.seq,
            hash: self.head,
            canonical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Kind;

    #[test]
    fn a_hash_prints_and_reads_back() {
        let hash = ChainHash::genesis("elm-court");
        assert_eq!(hash.to_string().parse::<ChainHash>(), Ok(hash));
        assert!("zz".parse::<ChainHash>().is_err());
        assert!("é".repeat(32).parse::<ChainHash>().is_err());
    }

    #[test]
    fn a_resumed_chain_goes_on_as_the_first_would() {
        let entry = || Entry::new("2026-11-20T10:00:00Z".parse().unwrap(), "s", Kind::Process);
        let mut whole = Chain::new("s");
        whole.append(entry());
        let mut resumed = Chain::resume("s", whole.len(), whole.head());
        assert_eq!(whole.append(entry()), resumed.append(entry()));
    }

    #[test]
    fn sites_have_different_chains() {
        assert_ne!(ChainHash::genesis("a"), ChainHash::genesis("b"));
    }
}
