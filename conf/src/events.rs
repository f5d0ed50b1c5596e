//! `[events]` and `[qualify]`: subscriptions, publications, and who is asked whether it is there.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::resolve::Check;
use crate::written::{Span, Written, parse_duration};

/// Bounds and times of subscriptions (RFC 6665) and publications (RFC 3903).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Subscriptions in all; one more gets 503.
    pub subscriptions: usize,
    /// Subscriptions of one account; one more gets 403, unless it takes the place of a forgotten one.
    pub per_account: usize,
    /// Shorter is refused (423).
    pub min: Duration,
    /// Longer is shortened.
    pub max: Duration,
    /// Average time between two NOTIFYs of one subscription; a few may follow each other at once.
    pub interval: Duration,
    /// Publications in all; one more gets 503.
    pub publications: usize,
}

/// Who is asked by OPTIONS whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qualify {
    /// Stations at doors; `None`: not asked.
    pub doors: Option<Duration>,
    /// Other devices.
    pub devices: Option<Duration>,
    /// A longer round trip, twice in a row, is `lagging`.
    pub lag: Duration,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct WrittenEvents {
    subscriptions: Written<u32>,
    subscriptions_per_account: Written<u32>,
    expires_min: Written<Span>,
    expires_max: Written<Span>,
    notify_interval: Written<Span>,
    publications: Written<u32>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct WrittenQualify {
    doors: Written<Every>,
    devices: Written<Every>,
    lag: Written<Span>,
}

/// How often: a length of time, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Every(pub(crate) Option<Duration>);

impl Every {
    /// The shortest: more often is a flood, not a question.
    pub(crate) const LEAST: Duration = Duration::from_secs(5);
    /// The longest.
    pub(crate) const MOST: Duration = Duration::from_secs(3_600);

    /// Whether it lies in between.
    pub(crate) fn is_sensible(self) -> bool {
        self.0
            .is_none_or(|time| (Self::LEAST..=Self::MOST).contains(&time))
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        parse_duration(&text)
            .map(|time| Self(Some(time)))
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is not a length of time: write \"30s\", \"5m\" or \"off\""
                ))
            })
    }
}

impl Check<'_> {
    pub(crate) fn events(&mut self, written: &WrittenEvents) -> Events {
        const SECOND: Duration = Duration::from_secs(1);
        const DAY: Duration = Duration::from_secs(86_400);
        let min = self.span(
            "events.expires-min",
            &written.expires_min,
            60 * SECOND,
            SECOND,
            3_600 * SECOND,
        );
        Events {
            subscriptions: self.count(
                "events.subscriptions",
                &written.subscriptions,
                10_000,
                1..=1_000_000,
            ),
            per_account: self.count(
                "events.subscriptions-per-account",
                &written.subscriptions_per_account,
                128,
                1..=10_000,
            ),
            min,
            max: self.span(
                "events.expires-max",
                &written.expires_max,
                3_600 * SECOND,
                min,
                DAY,
            ),
            interval: self.span(
                "events.notify-interval",
                &written.notify_interval,
                SECOND,
                Duration::from_millis(100),
                60 * SECOND,
            ),
            publications: self.count(
                "events.publications",
                &written.publications,
                10_000,
                1..=1_000_000,
            ),
        }
    }

    pub(crate) fn qualify(&mut self, written: &WrittenQualify) -> Qualify {
        Qualify {
            doors: self.every(
                "qualify.doors",
                &written.doors,
                Some(Duration::from_secs(30)),
            ),
            devices: self.every("qualify.devices", &written.devices, None),
            lag: self.span(
                "qualify.lag",
                &written.lag,
                Duration::from_millis(500),
                Duration::from_millis(10),
                Duration::from_secs(4),
            ),
        }
    }

    fn every(
        &mut self,
        key: &str,
        value: &Written<Every>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let Some(value) = value else { return default };
        let every = *value.get_ref();
        if !every.is_sensible() {
            self.fault(
                &value.span(),
                key,
                "out of range",
                format!("write {:?} to {:?}, or \"off\"", Every::LEAST, Every::MOST),
            );
        }
        every.0
    }
}
