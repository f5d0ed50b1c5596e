//! Checking a stored chain: finds the first record that is changed, missing or out of its place.

use std::fmt;

use super::{ChainHash, Entry, Link};

/// A point of the chain known from elsewhere, for finding a cut tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of records then.
    pub seq: u64,
    /// Hash of record `seq`.
    pub hash: ChainHash,
}

/// What is wrong, and where first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record's content does not give its hash.
    Changed {
        /// Its place.
        seq: u64,
    },
    /// A record is not there.
    Missing {
        /// The place that is empty.
        seq: u64,
    },
    /// The record that stands here belongs elsewhere.
    Reordered {
        /// The place looked at.
        seq: u64,
        /// The place the record found there claims.
        found: u64,
    },
    /// The record belongs to another site's chain.
    Foreign {
        /// Its place.
        seq: u64,
        /// The site it names.
        site: String,
    },
    /// The chain does not contain the checkpoint: its tail was cut, or it was written anew.
    Cut {
        /// The checkpoint's place.
        seq: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq } => write!(
                f,
                "record {seq} was changed: its content does not give its hash"
            ),
            Self::Missing { seq } => write!(f, "record {seq} is missing"),
            Self::Reordered { seq, found } => write!(
                f,
                "record {seq} is out of order: record {found} stands in its place"
            ),
            Self::Foreign { seq, site } => write!(f, "record {seq} belongs to site \"{site}\""),
            Self::Cut { seq } => write!(
                f,
                "the chain does not hold the checkpoint at record {seq}: it was cut or rewritten"
            ),
        }
    }
}

impl std::error::Error for Fault {}

/// A chain that held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Number of records.
    pub records: u64,
    /// Hash of the last.
    pub head: ChainHash,
}

/// Checks links one after the other, in the order of their stored place; needs no memory beyond one hash.
#[derive(Clone, Debug)]
pub struct Verifier {
    site: String,
    seq: u64,
    head: ChainHash,
    checkpoint: Option<Checkpoint>,
    checkpoint_met: bool,
}

impl Verifier {
    /// Starts at the site's genesis; `checkpoint` must be met on the way.
    #[must_use]
    pub fn new(site: &str, checkpoint: Option<Checkpoint>) -> Self {
        let checkpoint_met =
            checkpoint.is_none_or(|c| c.seq == 0 && c.hash == ChainHash::genesis(site));
        Self {
            site: site.to_owned(),
            seq: 0,
            head: ChainHash::genesis(site),
            checkpoint,
            checkpoint_met,
        }
    }

    /// Checks the next link.
    ///
    /// # Errors
    /// The first fault; nothing after it is worth checking.
    pub fn push(&mut self, link: &Link) -> Result<(), Fault> {
        let seq = self.seq + 1;
        if link.seq > seq {
            return Err(Fault::Missing { seq });
        }
        if link.seq < seq {
            return Err(Fault::Reordered {
                seq,
                found: link.seq,
            });
        }
        let Ok(entry) = Entry::from_canonical(&link.canonical) else {
            return Err(Fault::Changed { seq });
        };
        if entry.seq != seq {
            return Err(Fault::Reordered {
                seq,
                found: entry.seq,
            });
        }
        let hash = self.head.next(&link.canonical);
        if hash != link.hash {
            return Err(Fault::Changed { seq });
        }
        if entry.site != self.site {
            return Err(Fault::Foreign {
                seq,
                site: entry.site,
            });
        }
        if let Some(checkpoint) = self.checkpoint.filter(|c| c.seq == seq) {
            if checkpoint.hash != hash {
                return Err(Fault::Cut { seq });
            }
            self.checkpoint_met = true;
        }
        self.seq = seq;
        self.head = hash;
        Ok(())
    }

    /// Ends the check.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the checkpoint was never met.
    pub fn finish(self) -> Result<Summary, Fault> {
        match self.checkpoint {
            Some(checkpoint) if !self.checkpoint_met => Err(Fault::Cut {
                seq: checkpoint.seq,
            }),
            _ => Ok(Summary {
                records: self.seq,
                head: self.head,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Chain, Kind};

    fn links(n: usize) -> Vec<Link> {
        let mut chain = Chain::new("elm-court");
        (0..n)
            .map(|i| {
                let mut entry = Entry::new(
                    "2026-11-20T10:00:00Z".parse().unwrap(),
                    "elm-court",
                    Kind::Unlock,
                );
                entry.detail = Some(format!("n{i}"));
                chain.append(entry)
            })
            .collect()
    }

    fn verify(links: &[Link], checkpoint: Option<Checkpoint>) -> Result<Summary, Fault> {
        let mut verifier = Verifier::new("elm-court", checkpoint);
        links.iter().try_for_each(|link| verifier.push(link))?;
        verifier.finish()
    }

    #[test]
    fn an_untouched_chain_holds() {
        let links = links(5);
        let summary = verify(&links, None).unwrap();
        assert_eq!((summary.records, summary.head), (5, links[4].hash));
    }

    #[test]
    fn any_flipped_bit_is_found_at_its_record() {
        let whole = links(3);
        for byte in 0..whole[1].canonical.len() {
            let mut links = whole.clone();
            let mut bytes = links[1].canonical.clone().into_bytes();
            bytes[byte] ^= 1;
            links[1].canonical = String::from_utf8(bytes).unwrap();
            let fault = verify(&links, None).unwrap_err();
            let at_two = matches!(
                fault,
                Fault::Changed { seq: 2 } | Fault::Reordered { seq: 2, .. }
            );
            assert!(at_two, "byte {byte}: {fault}");
        }
    }

    #[test]
    fn a_flipped_hash_is_found() {
        let mut links = links(3);
        links[1].hash.0[7] ^= 1;
        assert_eq!(verify(&links, None), Err(Fault::Changed { seq: 2 }));
    }

    #[test]
    fn a_missing_record_is_found() {
        let mut links = links(4);
        links.remove(2);
        assert_eq!(verify(&links, None), Err(Fault::Missing { seq: 3 }));
    }

    #[test]
    fn a_missing_record_with_the_rest_renumbered_is_found() {
        let mut links = links(4);
        links.remove(1);
        for (at, link) in links.iter_mut().enumerate() {
            link.seq = at as u64 + 1;
        }
        assert_eq!(
            verify(&links, None),
            Err(Fault::Reordered { seq: 2, found: 3 })
        );
    }

    #[test]
    fn swapped_records_are_found() {
        let mut links = links(4);
        let (a, b) = (links[1].clone(), links[2].clone());
        links[1] = Link { seq: 2, ..b };
        links[2] = Link { seq: 3, ..a };
        assert_eq!(
            verify(&links, None),
            Err(Fault::Reordered { seq: 2, found: 3 })
        );
    }

    #[test]
    fn a_cut_tail_is_found_by_a_checkpoint_only() {
        let whole = links(4);
        let checkpoint = Checkpoint {
            seq: 4,
            hash: whole[3].hash,
        };
        assert!(verify(&whole[..3], None).is_ok());
        assert_eq!(
            verify(&whole[..3], Some(checkpoint)),
            Err(Fault::Cut { seq: 4 })
        );
        assert!(verify(&whole, Some(checkpoint)).is_ok());
    }

    #[test]
    fn a_chain_of_another_site_is_refused() {
        let mut verifier = Verifier::new("oak-house", None);
        assert!(verifier.push(&links(1)[0]).is_err());
    }
}
