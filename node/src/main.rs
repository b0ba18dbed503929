//! The command `voucher-node`: one subcommand is run, and its exit code says how it went.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
