//! The constructs of the language, one file each: what is written, and how it is read.
//!
//! Reading keeps spans and reports every fault of form (`L…`); names are resolved in [`load()`](crate::load())
//! once all of them are known (`P001`).

pub(crate) mod calendar;
pub(crate) mod condition;
pub(crate) mod desk;
pub(crate) mod dial;
pub(crate) mod door;
pub(crate) mod holidays;
pub(crate) mod keys;
pub(crate) mod mode;
pub(crate) mod nesting;
pub(crate) mod node;
pub(crate) mod pickup;
pub(crate) mod quiet;
pub(crate) mod rights;
pub(crate) mod ring;
pub(crate) mod route;
pub(crate) mod site;
