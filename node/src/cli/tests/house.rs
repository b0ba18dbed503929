//! A stopped node for tests: configuration, keys, and a store with a few records, made as a node makes them.

use std::path::PathBuf;
use std::sync::Arc;

use actors::clock::Hand;
use actors::writer::{Act, Writer};
use domain::holder::RegistrarEvent;
use domain::ids::VoucherId;
use domain::lifecycle::Step;
use domain::member::{Parameters, Role};
use domain::policy::{Class, Policy, ProgrammeEvent};
use domain::record::Body;
use domain::time::{Millis, Timestamp};
use ledger::log::Batch;
use voucher_node::config::Config;
use voucher_node::keys::NodeKeys;

use crate::cli::store::{self, Opened};

/// When the house is built: Monday, 2 March 2026, 00:00 UTC.
const DAWN: Timestamp = Timestamp::from_millis(1_772_409_600_000);

/// A registrar's node on disk. Its directory goes with it.
pub(super) struct House {
    /// Its configuration.
    pub config: Config,
    /// The directory of everything.
    pub home: tempfile::TempDir,
}

impl House {
    /// A registrar that has registered itself, published a programme and generated three vouchers.
    pub(super) fn built() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = |name: &str| home.path().join(name);
        let (keys, data, marker) = (dir("keys"), dir("data"), dir("marker"));
        let text = format!(
            "version = 1\ninstitution = 'health'\nroles = ['issuer']\nfederation = 'town'\n\
             [http]\nbind = '127.0.0.1:0'\nurl = 'http://127.0.0.1:7'\n\
             [store]\ndir = '{}'\nkeys = '{}'\nmin_free_disk_mib = 0\nmarker_dir = '{}'\n\
             [registrar]\ninstitution = 'health'\nurl = 'http://127.0.0.1:7'\n",
            data.display(),
            keys.display(),
            marker.display()
        );
        let config: Config = toml::from_str(&text).unwrap();
        std::fs::write(dir("node.toml"), text).unwrap();
        NodeKeys::load_or_make(&keys).unwrap();
        std::fs::create_dir_all(data.join("journal")).unwrap();
        let house = Self { config, home };
        house.live();
        house
    }

    /// The file of its configuration.
    pub(super) fn file(&self) -> PathBuf {
        self.home.path().join("node.toml")
    }

    /// Opens its store as the commands do.
    pub(super) fn open(&self) -> Opened {
        store::open(&self.config).unwrap()
    }

    /// Changes the opened store behind the node's back, durably.
    pub(super) fn spoil(&self, batch: impl FnOnce(&Opened) -> Batch) {
        let opened = self.open();
        let batch = batch(&opened);
        opened.logs.ledger.allow_writing();
        opened.logs.ledger.submit(batch).unwrap();
        opened.logs.ledger.flush();
    }

    fn live(&self) {
        let Opened { logs, settings, .. } = self.open();
        let clock = Arc::new(Hand::at(DAWN));
        let writer = Writer::open(logs, settings, clock.clone());
        writer.ledger().allow_writing();
        let Config { institution: me, roles, http, .. } = &self.config;
        let entry = NodeKeys::load_or_make(&self.config.store.keys).unwrap();
        let entry = entry.entry(*me, roles, &http.url, &self.config.origin());
        let write = |body| writer.decide(Act::default(), |desk| desk.write(Role::Issuer, body)).unwrap().answer;
        write(Body::Registrar(RegistrarEvent::MemberRegistered(entry)));
        write(Body::Registrar(RegistrarEvent::ParametersPublished(Parameters::default())));
        // Each flush is a commit of its own, so the journal has more than one frame of entries.
        writer.ledger().flush();
        let programme = write(Body::Programme(ProgrammeEvent::Published(policy())));
        for n in 0..3 {
            clock.set(DAWN + Millis::minutes(n));
            let voucher = VoucherId { issuer: *me, uuid: uuid::Uuid::from_u128(n as u128) };
            let (valid_from, valid_until) = (DAWN, DAWN + Millis::days(90));
            let step = Step::Generated { programme, valid_from, valid_until };
            writer.decide(Act::default(), |desk| desk.step(Role::Issuer, voucher, step)).unwrap();
        }
        writer.ledger().flush();
    }
}

fn policy() -> Policy {
    Policy {
        programme: "elderly-checkup".parse().unwrap(),
        title_zh: "体检券".into(),
        title_en: "Health check".into(),
        service: "health-check".parse().unwrap(),
        issuing_department: "公共卫生处".into(),
        classes: vec![Class::Elderly],
        validity_days: 90,
        vouchers_per_holder: 1,
        departments: vec!["imaging".parse().unwrap()],
        card_allowed: true,
    }
}
