//! Configuration and plan from disk: everything resolves, or nothing starts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dialplan::{Diagnostic, DriverKind, Plan};

use crate::store::StoreError;
use crate::transport::tls;

/// The disk, as `conf` sees it.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl conf::Files for Disk {
    fn read(&self, path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|e| e.to_string())
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, String> {
        let entries = std::fs::read_dir(directory).map_err(|e| e.to_string())?;
        let mut paths = entries
            .map(|entry| entry.map(|e| e.path()).map_err(|e| e.to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
        paths.sort();
        Ok(paths)
    }
}

/// A configuration with its plan, both without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub conf: conf::Resolved,
    /// The plan.
    pub plan: Arc<Plan>,
    /// Certificates, each read and judged.
    pub tls: tls::Loaded,
    /// What the plan's reading remarked.
    pub warnings: Vec<Diagnostic>,
}

/// Why nothing was loaded. `Display` gives file, line, caret and hint.
#[derive(Debug)]
pub enum Refused {
    /// A file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The configuration has faults.
    Conf(conf::Errors),
    /// The plan has faults.
    Plan(Vec<Diagnostic>),
    /// Configuration and plan are right by themselves and do not fit.
    Mismatch(Vec<String>),
    /// The database cannot be opened.
    Store(StoreError),
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => {
                write!(f, "error: cannot read {}: {why}", path.display())
            }
            Self::Conf(errors) => errors.fmt(f),
            Self::Plan(diagnostics) => f.write_str(dialplan::render(diagnostics, false).trim_end()),
            Self::Mismatch(faults) => f.write_str(&faults.join("\n")),
            Self::Store(error) => {
                write!(f, "error: {error}")?;
                error
                    .hint()
                    .map_or(Ok(()), |hint| write!(f, "\n  = {hint}"))
            }
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Reads and resolves `doorward.toml` at `path`.
///
/// # Errors
/// Everything wrong with it and the files it names.
pub fn load_conf(path: &Path) -> Result<conf::Resolved, Refused> {
    conf::load(path, &read(path)?, &Disk).map_err(Refused::Conf)
}

/// Reads the plan at `path`, with the holiday files it names (relative to it). Returns warnings beside it.
///
/// # Errors
/// Everything wrong with it.
pub fn load_plan(path: &Path) -> Result<(Plan, Vec<Diagnostic>), Refused> {
    load_plan_as(path, path)
}

/// The same under another name: what rules and steps are called in the log and in call stories.
fn load_plan_as(path: &Path, name: &Path) -> Result<(Plan, Vec<Diagnostic>), Refused> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let files = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
    let loaded = dialplan::load(&read(path)?, &name.display().to_string(), &files);
    match loaded.plan {
        Some(plan) if !loaded.diagnostics.iter().any(Diagnostic::is_error) => {
            Ok((plan, loaded.diagnostics))
        }
        _ => Err(Refused::Plan(loaded.diagnostics)),
    }
}

/// The road of start and reload alike: configuration, plan, and their fit.
///
/// # Errors
/// Everything wrong with the first part that is wrong.
pub fn load(path: &Path) -> Result<Loaded, Refused> {
    let conf = load_conf(path)?;
    let tls = tls::load(&conf).map_err(Refused::Conf)?;
    // The log says `plan.kdl:12`, wherever the house is kept.
    let home = path.parent().unwrap_or(Path::new(""));
    let name = conf.plan.strip_prefix(home).unwrap_or(&conf.plan);
    let (plan, warnings) = load_plan_as(&conf.plan, name)?;
    let faults = misfits(&conf, &plan);
    if !faults.is_empty() {
        return Err(Refused::Mismatch(faults));
    }
    Ok(Loaded {
        tls,
        conf,
        plan: Arc::new(plan),
        warnings,
    })
}

/// What configuration and plan say about each other that cannot be.
fn misfits(conf: &conf::Resolved, plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    let file = conf.file.display();
    if plan.site() != conf.site.name {
        let (ours, theirs) = (&conf.site.name, plan.site());
        faults.push(format!("error: {file}: site.name is \"{ours}\", the plan's site is \"{theirs}\"\n  = make them the same"));
    }
    for door in plan.doors() {
        let Some(profile) = conf.stations.get(&door.station) else {
            let known: Vec<&str> = conf.stations.keys().map(String::as_str).collect();
            let hint = conf::nearest(&door.station, &known).map_or_else(
                || format!("known: {}", known.join(", ")),
                |near| format!("did you mean \"{near}\"?"),
            );
            faults.push(format!(
                "error: {}: door \"{}\": there is no station profile \"{}\"\n  = {hint}",
                door.source, door.name, door.station
            ));
            continue;
        };
        for output in door
            .outputs
            .iter()
            .filter(|output| output.driver == DriverKind::Http)
        {
            let at = format!(
                "error: {}: output \"{}\" of door \"{}\"",
                output.source, output.name, door.name
            );
            if profile.unlock.http.is_none() {
                faults.push(format!("{at}: station profile \"{}\" has no [unlock.http]\n  = choose another driver or profile", profile.name));
            }
            if conf
                .doors
                .get(&door.name)
                .is_none_or(|door| door.url.is_none())
            {
                faults.push(format!("{at}: driver \"http\" needs the station's address\n  = add [door.{}] with url = \"https://…\" to {file}", door.name));
            }
        }
    }
    let mut missing = std::collections::BTreeSet::new();
    for (name, source) in plan.trunks() {
        if conf.trunks.contains_key(name) || !missing.insert(name) {
            continue;
        }
        let known: Vec<&str> = conf.trunks.keys().map(String::as_str).collect();
        let hint = conf::nearest(name, &known).map_or_else(
            || format!("add [trunk.{name}] with uri = \"sip:…\" to {file}"),
            |near| format!("did you mean \"{near}\"?"),
        );
        faults.push(format!(
            "error: {source}: there is no trunk \"{name}\"\n  = {hint}"
        ));
    }
    for name in conf.doors.keys().filter(|name| plan.door(name).is_none()) {
        let known: Vec<&str> = plan.doors().map(|door| door.name.as_str()).collect();
        let hint = conf::nearest(name, &known).map_or_else(
            || "remove it".to_owned(),
            |near| format!("did you mean [door.{near}]?"),
        );
        faults.push(format!(
            "error: {file}: [door.{name}] is no door of the plan\n  = {hint}"
        ));
    }
    faults
}

fn read(path: &Path) -> Result<String, Refused> {
    std::fs::read_to_string(path).map_err(|e| Refused::Unreadable {
        path: path.to_owned(),
        why: e.to_string(),
    })
}
