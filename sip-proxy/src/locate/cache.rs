//! Answers kept for their time to live, negative ones too; bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::records::{Answer, Question};

/// Answers kept. Overflow rule: the one that ends first goes.
const ENTRIES: usize = 4_096;
/// Longest life of an answer, whatever its zone says: a moved server is found again within the hour.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Longest life of "there is none".
const LONGEST_NEGATIVE: Duration = Duration::from_secs(300);
/// How long a question that nobody answered is not asked again: a dead DNS must not delay every call.
const FAILED: Duration = Duration::from_secs(5);
/// How long an answer past its life still serves when nobody answers any more (RFC 8767).
const STALE: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
struct Entry {
    answer: Answer,
    until: Instant,
    gone: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Question, Entry>,
    by_end: BTreeSet<(Instant, Question)>,
}

impl Cache {
    pub(super) fn get(&self, now: Instant, question: &Question) -> Option<&Answer> {
        let entry = self.entries.get(question)?;
        (now < entry.until).then_some(&entry.answer)
    }

    /// Keeps an answer and gives back the one that counts: an old one, where the new one is that nobody answered.
    pub(super) fn put(&mut self, now: Instant, question: &Question, answer: Answer) -> Answer {
        if answer == Answer::Failed
            && let Some(entry) = self.entries.get_mut(question)
            && now < entry.gone
            && matches!(entry.answer, Answer::Found { .. })
        {
            entry.until = now + FAILED;
            return entry.answer.clone();
        }
        let (life, stale) = match &answer {
            Answer::Found { ttl, .. } => ((*ttl).min(LONGEST), STALE),
            Answer::Nothing { ttl } => ((*ttl).min(LONGEST_NEGATIVE), Duration::ZERO),
            Answer::Failed => (FAILED, Duration::ZERO),
        };
        let entry = Entry {
            answer: answer.clone(),
            until: now + life,
            gone: now + life + stale,
        };
        self.by_end.insert((entry.gone, question.clone()));
        if let Some(old) = self.entries.insert(question.clone(), entry)
            && old.gone != now + life + stale
        {
            self.by_end.remove(&(old.gone, question.clone()));
        }
        while self.entries.len() > ENTRIES
            || self.by_end.first().is_some_and(|(gone, _)| *gone <= now)
        {
            let Some((_, question)) = self.by_end.pop_first() else {
                break;
            };
            self.entries.remove(&question);
        }
        answer
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
