//! Who may see what: nobody anything, unless the plan or the directory says so.

use dialplan::{Actor, LegState, Method, OpenQuery};

use super::{B2bua, Entity, Resource};
use crate::Now;
use crate::call::Party;

/// How much of an entity a watcher sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sight {
    /// Free, ringing or busy.
    State,
    /// With whom, and what it takes to pick the call up.
    Full,
}

impl B2bua {
    /// What a name in an address means.
    pub(super) fn entity(&self, name: &str) -> Option<Entity> {
        if let Some(party) = self.site.party(name) {
            return Some(match party.door {
                Some(door) => Entity::Door(door),
                None => Entity::Device(party.device),
            });
        }
        let (plan, directory) = (&self.site.plan, &self.site.directory);
        if plan.door(name).is_some() {
            Some(Entity::Door(name.to_owned()))
        } else if plan.desk(name).is_some() {
            Some(Entity::Desk(name.to_owned()))
        } else {
            directory
                .unit(name)
                .map(|unit| Entity::Unit(unit.id.clone()))
        }
    }

    /// What a watcher may see of a resource; `None`: nothing, as if it did not exist.
    ///
    /// | watcher | sees |
    /// |---|---|
    /// | any phone | itself, its unit and its unit's other devices: all; the doors it may view or open: the state |
    /// | a desk's device | besides: desks and their devices, doors it may view or open: all; other devices and units: the state |
    /// | a station | nothing but its own registration |
    pub(super) fn sight(&self, now: Now, watcher: &Party, resource: &Resource) -> Option<Sight> {
        let entity = match resource {
            Resource::Dialog(entity) | Resource::Presence(entity) => entity,
            Resource::Reg(user) | Resource::Messages(user) => {
                return (*user == watcher.user).then_some(Sight::Full);
            }
        };
        if watcher.door.is_some() {
            return None;
        }
        let site = &self.site;
        let actor = Actor::of_device(&site.plan, &site.directory, &watcher.device);
        let desk = !actor.desks.is_empty();
        let own = |device: &str| {
            device == watcher.device
                || actor.unit.is_some()
                    && Actor::of_device(&site.plan, &site.directory, device).unit == actor.unit
        };
        let by_desk = |full: bool| desk.then_some(if full { Sight::Full } else { Sight::State });
        match entity {
            Entity::Device(device) if own(device) => Some(Sight::Full),
            Entity::Device(device) => by_desk(site.plan.desks_of_device(device).next().is_some()),
            Entity::Unit(unit) if actor.unit.as_ref() == Some(unit) => Some(Sight::Full),
            Entity::Unit(_) => by_desk(false),
            Entity::Desk(_) => by_desk(true),
            Entity::Door(door) => {
                let facts = site.facts(now);
                let query = OpenQuery {
                    actor: &actor,
                    door,
                    output: None,
                    method: Method::Handset,
                    leg: LegState::Answered,
                };
                let may = site.plan.may_view(&site.directory, &facts, &actor, door)
                    || site
                        .plan
                        .may_open(&site.directory, &facts, &query)
                        .is_allow();
                may.then_some(if desk { Sight::Full } else { Sight::State })
            }
        }
    }
}
