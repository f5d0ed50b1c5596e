//! Station profiles: what a make of door station can do and says, as data.

/// One make's profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name in the plan: `2n`.
    pub name: String,
}
