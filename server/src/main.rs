//! `doorward`: see `doorward --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::cli::main()
}
