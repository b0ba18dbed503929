//! The command `voucher-node`: one subcommand is run, and its exit code says how it went.

mod cli;

/// The fold makes and drops many small rows on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Journal and store hold personal data: whatever this program makes is its user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    cli::main()
}
