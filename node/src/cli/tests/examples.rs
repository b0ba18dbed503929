//! The example configurations in `config/`: each is read as a node reads it, and together they are one federation.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use domain::member::Role;
use ledger::key::{KeyKind, NoteVerifier, PrivateKey};
use voucher_node::config::{Config, ConfigError};

/// The registrar's key, which only its first start brings into the world.
const VKEY: &str = "VOUCHER__REGISTRAR__LOG_VKEY";

const NAMES: [(&str, &[Role]); 6] = [
    ("nanjing-health", &[Role::Issuer]),
    ("community-xuanwu", &[Role::Community, Role::Voucher]),
    ("community-qinhuai", &[Role::Community]),
    ("hospital-gulou", &[Role::Hospital]),
    ("hospital-zhongda", &[Role::Hospital]),
    ("audit-jiangsu", &[Role::Auditor]),
];

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config").join(format!("{name}.toml"))
}

#[test]
fn every_example_is_read_with_the_registrars_key_in_the_environment() {
    let Ok(vkey) = std::env::var(VKEY) else {
        // A variable cannot safely be set while other tests run, so this test runs itself again with it.
        let origin = "voucher-ledger.example/nanjing-health";
        let key = NoteVerifier::new(origin, KeyKind::Log, PrivateKey::from_seed(&[1; 32]).public()).unwrap();
        let own = std::env::current_exe().unwrap();
        let name = "cli::tests::examples::every_example_is_read_with_the_registrars_key_in_the_environment";
        let output = Command::new(own).args(["--exact", name]).env(VKEY, key.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    };
    let mut binds = BTreeSet::new();
    for (port, (name, roles)) in (7101..).zip(NAMES) {
        let config = Config::load(&example(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((config.institution.as_str(), config.roles.as_slice()), (name, roles));
        assert_eq!(config.origin(), format!("voucher-ledger.example/{name}"));
        assert_eq!(config.http.url, format!("https://127.0.0.1:{}", port + 100), "{name}");
        assert_eq!(config.http.bind.port(), port, "{name}");
        assert_eq!(config.tls.as_ref().unwrap().bind.port(), port + 100, "{name}");
        assert_eq!(config.registrar.institution.as_str(), "nanjing-health", "{name}");
        assert_eq!(config.registrar.url, "https://127.0.0.1:7201", "{name}");
        assert_eq!(config.registrar.log_vkey, vkey, "{name}");
        assert!(config.store.dir.ends_with(format!("{name}/data")), "{name}");
        assert!(binds.insert(config.http.bind), "{name}");
    }
}

#[test]
fn without_the_registrars_key_only_the_registrar_starts() {
    if std::env::var(VKEY).is_ok() {
        return;
    }
    for (name, roles) in NAMES {
        match Config::load(&example(name)) {
            Ok(config) => assert!(config.is_registrar() && roles.contains(&Role::Issuer), "{name}"),
            Err(ConfigError::Value { field, .. }) => assert_eq!(field, "registrar.log_vkey", "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn an_unknown_field_is_said_once() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("node.toml");
    let text = std::fs::read_to_string(example("nanjing-health")).unwrap();
    std::fs::write(&file, text.replace("[http]", "[http]\ncolour = 1")).unwrap();
    let error = crate::cli::run::load(&file).unwrap_err();
    let said = format!("{error:#}");
    assert_eq!(said.matches("colour").count(), 1, "{said}");
}
