//! Configuration and plan from disk: everything resolves, or nothing starts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dialplan::{Diagnostic, Plan};

use crate::store::StoreError;

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
    /// The database cannot be opened.
    Store(StoreError),
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "error: cannot read {}: {why}", path.display()),
            Self::Conf(errors) => errors.fmt(f),
            Self::Plan(diagnostics) => f.write_str(dialplan::render(diagnostics, false).trim_end()),
            Self::Store(error) => {
                write!(f, "error: {error}")?;
                error.hint().map_or(Ok(()), |hint| write!(f, "\n  = {hint}"))
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
    let directory = path.parent().unwrap_or(Path::new(""));
    let files = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
    let loaded = dialplan::load(&read(path)?, &path.display().to_string(), &files);
    match loaded.plan {
        Some(plan) if !loaded.diagnostics.iter().any(Diagnostic::is_error) => Ok((plan, loaded.diagnostics)),
        _ => Err(Refused::Plan(loaded.diagnostics)),
    }
}

/// The road of start and reload alike: configuration, plan, and their fit.
///
/// # Errors
/// Everything wrong with the first part that is wrong.
pub fn load(path: &Path) -> Result<Loaded, Refused> {
    let conf = load_conf(path)?;
    let (plan, warnings) = load_plan(&conf.plan)?;
    Ok(Loaded { conf, plan: Arc::new(plan), warnings })
}

fn read(path: &Path) -> Result<String, Refused> {
    std::fs::read_to_string(path).map_err(|e| Refused::Unreadable { path: path.to_owned(), why: e.to_string() })
}
