//! Tests of the command line as a whole: words, example configurations, and stores of stopped nodes.

mod backups;
mod damage;
mod examples;
mod export;
mod house;
mod stores;

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_words_are_sound_and_every_command_teaches() {
    let mut command = Cli::command();
    command.clone().debug_assert();
    command.build();
    for sub in command.get_subcommands().filter(|sub| !["help", "demo"].contains(&sub.get_name())) {
        let after = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains(&format!("voucher-node {}", sub.get_name())), "{} has no example", sub.get_name());
    }
}

#[test]
fn what_is_typed_wrong_is_said_before_anything_is_done() {
    for (line, said) in [
        ("import residents r.csv --yes", "--token-file <FILE>"),
        ("import people r.csv", "possible values: residents, schedule, programmes"),
        ("verify", "<EXPORT|URL|PROOF>"),
        ("verify 1.proof --id 00", "invalid value '00'"),
        ("verify 1.proof --key nonsense", "invalid value 'nonsense'"),
        ("run --config node.toml --federation-clock soon", "invalid digit"),
    ] {
        let words = std::iter::once("voucher-node").chain(line.split(' '));
        let error = Cli::try_parse_from(words).unwrap_err();
        assert!(error.to_string().contains(said), "{line}: {error}");
        assert_eq!(error.exit_code(), i32::from(NOT_DONE), "{line}");
    }
}

#[test]
fn a_no_is_told_apart_from_no_answer() {
    use anyhow::Context as _;
    let no = node::CallError::Refused { status: 409, code: "programme-exists".into(), text: String::new() };
    let gone = node::CallError::Unreachable { url: String::new(), error: String::new() };
    assert_eq!(code_of(&Err::<(), _>(no).context("sending").unwrap_err()), BAD);
    assert_eq!(code_of(&gone.into()), NOT_DONE);
    assert_eq!(code_of(&anyhow::anyhow!("anything else")), NOT_DONE);
}
