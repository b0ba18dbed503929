//! Who is believed over TLS: a table of servers and pins, through real connections; and certificates that are renewed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::InstitutionId;
use ed25519_dalek::SigningKey;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned};

use super::certificate::{self, authority_pem};
use super::pin::{Pin, pinned_to};
use super::serving::{Certificates, Kind};
use super::trusting;
use crate::clock::machine_time;
use crate::config::Config;

fn id(text: &str) -> InstitutionId {
    text.parse().unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn pin(institution: &str, seed: u8) -> Pin {
    Pin::Key { institution: id(institution), key: key(seed).verifying_key().to_bytes() }
}

fn config(tls: &str) -> Config {
    let text = format!(
        "version = 1\ninstitution = 'gulou'\nroles = ['hospital']\nfederation = 'town'\n\
         [http]\nbind = '127.0.0.1:7101'\nurl = 'https://127.0.0.1:7201'\n[store]\ndir = 'd'\nkeys = 'k'\n\
         [registrar]\ninstitution = 'health'\nurl = 'http://127.0.0.1:7102'\nlog_vkey = 'x'\n\
         [tls]\nbind = '127.0.0.1:7201'\n{tls}"
    );
    toml::from_str(&text).unwrap()
}

fn open(tls: &str) -> Arc<Certificates> {
    Certificates::open(&config(tls), key(1)).unwrap().unwrap()
}

/// Shakes hands over a real connection, and says what the server said, or why not.
fn greeted(certificates: &Arc<Certificates>, client: ClientConfig, name: &str) -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(certificates.server().unwrap());
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(server).unwrap(), stream);
        let _ = stream.write_all(b"good day").and_then(|()| stream.flush());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let mut said = String::new();
    let read = stream.read_to_string(&mut said);
    drop(stream);
    serving.join().unwrap();
    read.map(|_| said).map_err(|error| error.to_string())
}

#[test]
fn a_node_is_known_by_its_node_key_alone() {
    let certificates = open("names = ['desk.example', '192.0.2.7']");
    let table = [
        ("the node", pin("gulou", 1), "127.0.0.1", true),
        ("by another of its names", pin("gulou", 1), "desk.example", true),
        ("by another of its addresses", pin("gulou", 1), "192.0.2.7", true),
        ("at first contact", Pin::FirstContact, "127.0.0.1", true),
        ("by a name that is not its", pin("gulou", 1), "elsewhere.example", false),
        ("another key", pin("gulou", 2), "127.0.0.1", false),
        ("another institution", pin("zhongda", 1), "127.0.0.1", false),
    ];
    for (what, pin, name, is_believed) in table {
        let said = greeted(&certificates, pinned_to(&pin), name);
        assert_eq!(said.as_deref() == Ok("good day"), is_believed, "{what}: {said:?}");
    }
}

#[test]
fn a_file_of_the_authority_opens_the_door_too() {
    let certificates = open("");
    let believes = |pem: String| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        greeted(&certificates, trusting(roots), "127.0.0.1").is_ok()
    };
    assert!(believes(authority_pem(id("gulou"), &key(1)).unwrap()));
    assert!(!believes(authority_pem(id("gulou"), &key(2)).unwrap()));
}

/// A certificate of some other authority in two files, and that authority.
fn public(dir: &std::path::Path, seed: u8) -> RootCertStore {
    public_until(dir, seed, 2100)
}

/// The same, which ends with a year's beginning.
fn public_until(dir: &std::path::Path, seed: u8, year: i32) -> RootCertStore {
    let tls_key = rcgen::KeyPair::generate().unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {seed}"));
    let root = authority.self_signed(&authority_key).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["pages.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&tls_key, &rcgen::Issuer::new(authority, authority_key)).unwrap();
    std::fs::write(dir.join("chain.pem"), certificate.pem()).unwrap();
    let key = dir.join("key.pem");
    std::fs::write(&key, tls_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    roots
}

#[test]
fn browsers_are_shown_the_public_certificate_and_nodes_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let roots = public(dir.path(), 1);
    let files = format!("certificate = '{0}/chain.pem'\nkey = '{0}/key.pem'", dir.path().display());
    let certificates = open(&files);
    assert!(greeted(&certificates, trusting(roots.clone()), "pages.example").is_ok());
    assert!(greeted(&certificates, pinned_to(&pin("gulou", 1)), "127.0.0.1").is_ok());
    let views = certificates.views();
    assert_eq!(views.iter().map(|view| view.kind).collect::<Vec<_>>(), [Kind::Node, Kind::Public]);
    assert_eq!(views[1].not_after_secs, 4_102_444_800);
    // Other files: the old certificate is shown until both fit each other.
    let newer = public(dir.path(), 2);
    let other = tempfile::tempdir().unwrap();
    public(other.path(), 3);
    let good = std::fs::read(dir.path().join("key.pem")).unwrap();
    std::fs::copy(other.path().join("key.pem"), dir.path().join("key.pem")).unwrap();
    assert!(certificates.reload().unwrap_err().to_string().contains("is not the key of"));
    assert!(greeted(&certificates, trusting(roots.clone()), "pages.example").is_ok());
    std::fs::write(dir.path().join("key.pem"), good).unwrap();
    certificates.reload().unwrap();
    assert!(greeted(&certificates, trusting(newer), "pages.example").is_ok());
    assert!(greeted(&certificates, trusting(roots), "pages.example").is_err());
}

#[test]
fn the_own_certificate_is_renewed_long_before_its_end() {
    let certificates = open("");
    let first = certificates.views()[0];
    assert!((89..=90).contains(&first.days_left) && !first.is_ending, "{first:?}");
    let day = Duration::from_secs(86_400);
    let after = |days: u32| {
        certificates.renew(machine_time() + day * days).unwrap();
        certificates.views()[0].not_after_secs
    };
    assert_eq!(after(29), first.not_after_secs, "60 days are left");
    let renewed = after(31);
    assert!(renewed >= first.not_after_secs + 31 * 86_400);
    // It is shown at once: no connection of a peer needs a restart.
    assert!(greeted(&certificates, pinned_to(&pin("gulou", 1)), "127.0.0.1").is_err(), "valid from 30 days ahead on");
}

#[test]
fn what_cannot_be_served_with_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    let files = format!("certificate = '{0}/empty.pem'\nkey = '{0}/none.pem'", dir.path().display());
    let error = Certificates::open(&config(&files), key(1)).unwrap_err();
    assert!(format!("{error:#}").contains("empty.pem: no certificate in it"), "{error:#}");
    public(dir.path(), 1);
    std::fs::set_permissions(dir.path().join("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let files = format!("certificate = '{0}/chain.pem'\nkey = '{0}/key.pem'", dir.path().display());
    let error = Certificates::open(&config(&files), key(1)).unwrap_err();
    assert!(format!("{error:#}").contains("is open to everybody (mode 644)"), "{error:#}");
    assert!(certificate::issue(id("gulou"), &key(1), &["näme".to_owned()], machine_time()).is_err());
    // A pipe has no end until somebody writes to it.
    let pipe = dir.path().join("pipe.pem");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (chain, key_file) in [("pipe.pem", "key.pem"), ("chain.pem", "pipe.pem")] {
        let files = format!("certificate = '{0}/{chain}'\nkey = '{0}/{key_file}'", dir.path().display());
        let error = Certificates::open(&config(&files), key(1)).unwrap_err();
        assert!(format!("{error:#}").contains("pipe.pem is no regular file"), "{error:#}");
    }
}

/// Nothing stops because a date has passed: it is told, and nodes meet as before.
#[test]
fn a_certificate_that_is_over_stops_nothing_and_takes_no_good_ones_place() {
    let dir = tempfile::tempdir().unwrap();
    let files = format!("certificate = '{0}/chain.pem'\nkey = '{0}/key.pem'", dir.path().display());
    let over = public_until(dir.path(), 1, 2020);
    let certificates = open(&files);
    let view = certificates.views()[1];
    assert!(view.kind == Kind::Public && view.days_left < 0 && view.is_ending, "{view:?}");
    assert!(greeted(&certificates, trusting(over), "pages.example").is_err());
    assert!(greeted(&certificates, pinned_to(&pin("gulou", 1)), "127.0.0.1").is_ok());
    let good = public(dir.path(), 2);
    certificates.reload().unwrap();
    assert!(greeted(&certificates, trusting(good.clone()), "pages.example").is_ok());
    public_until(dir.path(), 3, 2020);
    assert!(certificates.reload().unwrap_err().to_string().contains("is over already"));
    assert!(greeted(&certificates, trusting(good), "pages.example").is_ok());
}
