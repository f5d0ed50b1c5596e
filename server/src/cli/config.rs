//! `doorward config check`.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Configured, Done, no, output};
use crate::files;

/// Commands on the configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Resolve the configuration, the station profiles and the plan, and say what is wrong with line and column.
    ///
    /// Nothing is bound or written. Exit status 1 when something is wrong.
    #[command(after_help = "Example: doorward config check --config /etc/doorward/doorward.toml")]
    Check(Configured),
}

pub(super) fn run(command: &Command) -> Done {
    let Command::Check(configured) = command;
    match files::load(&configured.config) {
        Ok(loaded) => {
            let conf = &loaded.conf;
            output::error(&dialplan::render(&loaded.warnings, output::colour_err()));
            for listener in &conf.listeners {
                let told = listener
                    .advertise
                    .map_or(String::new(), |address| format!(", told as {address}"));
                output::line(&format!(
                    "listen    {} {}{told}",
                    listener.transport.as_str(),
                    listener.bind
                ));
            }
            for expiry in &loaded.tls.expiries {
                output::line(&format!(
                    "tls       {} shows {}, {} days left",
                    expiry.listener,
                    expiry.file,
                    expiry.days_left(jiff::Timestamp::now())
                ));
            }
            let media: Vec<String> = conf
                .media
                .addresses
                .iter()
                .map(|address| address.bind.to_string())
                .collect();
            output::line(&format!(
                "media     {} ports {}-{}",
                media.join(", "),
                conf.media.port_first,
                conf.media.port_last
            ));
            output::line(&format!(
                "site      {} ({})",
                conf.site.name,
                conf.site.domains.join(", ")
            ));
            output::line(&format!(
                "plan      {} version {}",
                conf.plan.display(),
                loaded.plan.version()
            ));
            output::line(&format!("store     {}", conf.store.display()));
            let profiles: Vec<&str> = conf.stations.keys().map(String::as_str).collect();
            output::line(&format!("stations  {}", profiles.join(", ")));
            output::line("ok");
            Ok(ExitCode::SUCCESS)
        }
        Err(
            refused @ (files::Refused::Conf(_)
            | files::Refused::Plan(_)
            | files::Refused::Mismatch(_)),
        ) => {
            output::error(&super::Failure::from(refused).to_string());
            Ok(no())
        }
        Err(refused) => Err(refused.into()),
    }
}
