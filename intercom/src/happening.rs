//! What happens in the site beside calls and unlocks: typed, for the log, the counters and whoever is told of events.

use std::fmt;
use std::time::Duration;

/// An event of the site. It holds no credentials and no telephone numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteEvent {
    /// A station reports what its profile knows by name (`message-events`): `tamper`, `forced-door` …
    StationAlarm {
        /// The door it stands at.
        door: String,
        /// The station's device.
        device: String,
        /// The profile's word for it.
        kind: String,
        /// What it said, shortened, without control characters.
        text: String,
    },
    /// A station said something that its profile has no name for.
    StationMessage {
        /// The door it stands at.
        door: String,
        /// The station's device.
        device: String,
        /// Octets of the body.
        octets: usize,
    },
    /// A door's station registered from another address than before.
    RegistrationMoved {
        /// The door.
        door: String,
        /// Its device.
        device: String,
    },
    /// A device answers no more.
    DeviceUnreachable {
        /// The device.
        device: String,
        /// The door it stands at.
        door: Option<String>,
    },
    /// A device answers, for the first time or again.
    DeviceReachable {
        /// The device.
        device: String,
        /// The door it stands at.
        door: Option<String>,
        /// Round trip of the answer.
        rtt: Duration,
    },
    /// A device answers late.
    DeviceLagging {
        /// The device.
        device: String,
        /// The door it stands at.
        door: Option<String>,
        /// Round trip of the answer.
        rtt: Duration,
    },
}

impl SiteEvent {
    /// A stable word for counters and filters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StationAlarm { .. } => "station-alarm",
            Self::StationMessage { .. } => "station-message",
            Self::RegistrationMoved { .. } => "registration-moved",
            Self::DeviceUnreachable { .. } => "device-unreachable",
            Self::DeviceReachable { .. } => "device-reachable",
            Self::DeviceLagging { .. } => "device-lagging",
        }
    }

    /// Whether a person should look.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        match self {
            Self::StationAlarm { .. } | Self::RegistrationMoved { .. } => true,
            Self::DeviceUnreachable { door, .. } => door.is_some(),
            Self::StationMessage { .. }
            | Self::DeviceReachable { .. }
            | Self::DeviceLagging { .. } => false,
        }
    }

    /// The door concerned.
    #[must_use]
    pub fn door(&self) -> Option<&str> {
        match self {
            Self::StationAlarm { door, .. }
            | Self::StationMessage { door, .. }
            | Self::RegistrationMoved { door, .. } => Some(door),
            Self::DeviceUnreachable { door, .. }
            | Self::DeviceReachable { door, .. }
            | Self::DeviceLagging { door, .. } => door.as_deref(),
        }
    }

    /// The device concerned.
    #[must_use]
    pub fn device(&self) -> &str {
        match self {
            Self::StationAlarm { device, .. }
            | Self::StationMessage { device, .. }
            | Self::RegistrationMoved { device, .. }
            | Self::DeviceUnreachable { device, .. }
            | Self::DeviceReachable { device, .. }
            | Self::DeviceLagging { device, .. } => device,
        }
    }
}

impl fmt::Display for SiteEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StationAlarm {
                door, kind, text, ..
            } => write!(f, "the station of {door} reports {kind}: {text}"),
            Self::StationMessage { device, octets, .. } => {
                write!(f, "message from the station of {device} ({octets} octets)")
            }
            Self::RegistrationMoved { door, .. } => {
                write!(f, "the station of {door} registered from a new address")
            }
            Self::DeviceUnreachable { device, .. } => write!(f, "{device} does not answer"),
            Self::DeviceReachable { device, rtt, .. } => {
                write!(f, "{device} answers ({} ms)", rtt.as_millis())
            }
            Self::DeviceLagging { device, rtt, .. } => {
                write!(f, "{device} answers late ({} ms)", rtt.as_millis())
            }
        }
    }
}
