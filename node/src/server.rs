//! Running a node: open the ledger, fold, start roles, follow the others, serve requests; stop in the opposite order.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::App;
use actix_web::dev::{Server, ServerHandle, Service as _};
use actix_web::middleware::{Compress, from_fn};
use actix_web::web::Data;
use actors::replica::Settings;
use actors::vault::Vault;
use actors::vault::disk::FileSlots;
use actors::writer::{Act, Logs, Writer};
use anyhow::Context as _;
use domain::holder::RegistrarEvent;
use domain::member::{Parameters, Role};
use domain::record::Body;
use ledger::checkpoint::Checkpoint;
use ledger::key::NoteVerifier;
use ledger::log::{Ledger, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use utoipa::{Modify as _, OpenApi as _};
use utoipa_actix_web::AppExt as _;
use utoipa_swagger_ui::SwaggerUi;

use crate::accounts::Accounts;
use crate::api::edge;
use crate::api::methods::{self, Allowed};
use crate::clock::NodeClock;
use crate::config::Config;
use crate::door::Door;
use crate::keys::NodeKeys;
use crate::node::Node;
use crate::oidc::Oidc;
use crate::peers::{self, client::PeerClient};
use crate::tls::serving::Certificates;
use crate::{api, pages, roles, rotation};
use actors::misbehave::misbehaves;

/// Opens an institution's ledger and folds it.
///
/// # Errors
///
/// Configuration, keys or ledger cannot be used; the text says what an operator can do.
pub fn open(config: &Config, clock: Arc<NodeClock>) -> anyhow::Result<(Arc<Writer>, NodeKeys, bool)> {
    if config.store.dir.join("journal").is_dir()
        && let Some((word, path)) = NodeKeys::missing(&config.store.keys)
    {
        // Another one made in its place would be believed by nobody, and nothing would say why.
        anyhow::bail!(
            "{} is missing: bring it back, or have it replaced: voucher-node keys next --purpose {word}",
            path.display()
        );
    }
    let wrapped = crate::rewrap::finish(config).context("the vault is being wrapped anew")?;
    if wrapped > 0 {
        tracing::warn!(wrapped, "the vault was half wrapped anew: that is finished");
    }
    let keys = NodeKeys::load_or_make(&config.store.keys).context("the institution's keys")?;
    let signer = keys.log_signer(&config.origin()).context("the log's name")?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("this boot's id")?;
    let mut options = Options::new(&config.store.dir, signer, boot_id.trim());
    options.marks = actors::keys::MARKS.to_vec();
    options.min_free_disk_bytes = config.store.min_free_disk_mib * 1024 * 1024;
    options.marker_dir.clone_from(&config.store.marker_dir);
    // It may be by a key that was replaced since: what the records say about that is looked at below.
    options.checks_signature = false;
    let (ledger, report) = Ledger::open(options).context("the ledger")?;
    refuse_other_own_log(&ledger, &keys, &config.origin())?;
    refuse_second_founding(&ledger, config)?;
    if let Some(why) = &report.rebuilt {
        tracing::warn!(why, "the store was set aside and rebuilt from the journal");
    } else if report.stored.is_empty() && report.replayed_frames > 0 {
        tracing::warn!(frames = report.replayed_frames, "the store was missing or empty: it was made from the journal");
    }
    if report.torn_bytes > 0 {
        tracing::warn!(bytes = report.torn_bytes, "a torn last write, told to nobody, was cut off the journal's end");
    }
    tracing::info!(size = report.size, replayed = report.replayed_frames, "the ledger is open");
    let settings = Settings {
        me: config.institution,
        roles: config.roles.clone(),
        registrar: config.registrar.institution,
        offset: config.offset().context("utc_offset_minutes")?,
        retention: config.retention.into(),
    };
    refuse_foreign_log(&ledger, &keys, config, &settings, &clock)?;
    let slots = FileSlots::open(&config.vault()).with_context(|| format!("the vault {}", config.vault().display()))?;
    let vault = Vault::open(slots, keys.vault_key())?;
    // Keys that no row names are overwritten below. Where the journal is lost, that would be all of them.
    anyhow::ensure!(
        !(is_empty(&ledger) && vault.holds_keys()),
        "the vault {} has keys of personal data, and the ledger in {} is empty: a start would overwrite them. Restore the \
         journal first (voucher-node restore); if it is lost for good, move the vault aside",
        config.vault().display(),
        config.store.dir.display()
    );
    let logs = Logs { ledger, federation: config.federation.clone(), vault };
    logs.settle_vault(false)?;
    Ok((Writer::open(logs, settings, clock), keys, report.plain_restart))
}

/// Refuses a store in which this institution's key has signed a log of another name: one directory, one node.
///
/// Under a mistyped name a second log would begin, which nobody knows, and the one that everybody follows would not go on.
fn refuse_other_own_log(ledger: &Ledger, keys: &NodeKeys, origin: &str) -> anyhow::Result<()> {
    for other in ledger.origins().iter().filter(|other| *other != origin) {
        let (Some(head), Ok(signer)) = (ledger.head(other), keys.log_signer(other)) else { continue };
        let note = ledger::note::Note::parse(&*head.note);
        let is_own = note.is_ok_and(|note| note.verify(std::slice::from_ref(signer.verifier())).is_ok());
        anyhow::ensure!(
            !is_own,
            "store.dir holds this institution's log {other}, and the configuration names it {origin}: institution or \
             federation is another one than before"
        );
    }
    Ok(())
}

/// Whether nothing was ever kept here: neither of any log nor in private rows.
fn is_empty(ledger: &Ledger) -> bool {
    let logs = ledger.origins();
    logs.iter().all(|origin| ledger.accepted_size(origin) == 0)
        && ledger.range_private(&[], &[u8::MAX; 64], 1).is_empty()
}

/// The file beside the keys that says that this institution has founded its federation.
fn founded_file(config: &Config) -> PathBuf {
    config.store.keys.join("founded")
}

/// Refuses to found a federation a second time: a registrar knows its members by its own log alone, so where that is lost
/// nobody can be asked, and what it would write is another history of the log that everybody holds.
fn refuse_second_founding(ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
    let file = founded_file(config);
    anyhow::ensure!(
        !config.is_registrar() || ledger.accepted_size(&config.origin()) > 0 || !file.exists(),
        "{} says that this registrar has founded its federation, and its log is not in {}. Restore it from a backup, or from an \
         export of any member (voucher-node restore): a log that begins anew is a second history",
        file.display(),
        config.store.dir.display()
    );
    Ok(())
}

/// Says beside the keys, durably, that the federation is founded.
fn note_founding(config: &Config) -> anyhow::Result<()> {
    let file = founded_file(config);
    if file.exists() {
        return Ok(());
    }
    std::fs::write(&file, format!("{}\n", config.origin()))?;
    std::fs::File::open(&file)?.sync_all()?;
    Ok(std::fs::File::open(&config.store.keys)?.sync_all()?)
}

/// Refuses a store whose own log was signed by somebody else's key: before anything is compared with the vault, let alone
/// written.
fn refuse_foreign_log(
    ledger: &Ledger,
    keys: &NodeKeys,
    config: &Config,
    settings: &Settings,
    clock: &Arc<NodeClock>,
) -> anyhow::Result<()> {
    let origin = config.origin();
    let Some(head) = ledger.head(&origin) else { return Ok(()) };
    let is_by = |verifiers: &[NoteVerifier]| Checkpoint::open(head.note.as_bytes(), &origin, verifiers).is_ok();
    if is_by(std::slice::from_ref(keys.log_signer(&origin)?.verifier())) {
        return Ok(());
    }
    // Rare: a key was replaced, and no record is written under the new one yet. The records say which keys there were.
    let logs = Logs { ledger: ledger.clone(), federation: config.federation.clone(), vault: Vault::locked() };
    let registry = Writer::open(logs, settings.clone(), clock.clone()).registry();
    let known = registry.member(config.institution).map(peers::log_keys).unwrap_or_default();
    anyhow::ensure!(
        is_by(&known),
        "store.dir holds a log {origin} that no key of this institution has signed: keys or data were copied from elsewhere"
    );
    Ok(())
}

/// Entry 0 of the registrar's log is its own registration; the federation's numbers follow it.
fn found_federation(node: &Node) -> anyhow::Result<()> {
    let Config { institution, roles, http, .. } = &node.config;
    if !node.config.is_registrar() {
        return Ok(());
    }
    note_founding(&node.config).with_context(|| founded_file(&node.config).display().to_string())?;
    if node.writer.registry().member(*institution).is_some() {
        return Ok(());
    }
    let entry = node.keys.entry(*institution, roles, &http.url, &node.config.origin());
    node.writer
        .decide(Act::default(), |desk| {
            desk.write(Role::Issuer, Body::Registrar(RegistrarEvent::MemberRegistered(entry)))?;
            let parameters = RegistrarEvent::ParametersPublished(Parameters::default());
            desk.write(Role::Issuer, Body::Registrar(parameters))
        })
        .map_err(|refused| anyhow::anyhow!("the registrar cannot register itself: {refused}"))?;
    Ok(())
}

/// Runs a node until it is told to stop.
///
/// # Errors
///
/// It cannot start; the text says what an operator can do.
pub async fn run(config: Config, clock: Arc<NodeClock>) -> anyhow::Result<()> {
    raise_file_limit();
    let (writer, keys, plain_restart) = open(&config, clock.clone())?;
    let written = writer.ledger().accepted_size(&config.origin());
    anyhow::ensure!(written == 0 || !misbehaves("reopening-fails"), "the store does not open a second time");
    let client = PeerClient::new(&config, &keys, writer.clone()).context("the client for peers")?;
    let certificates = Certificates::open(&config, keys.node_key())?;
    if certificates.is_some() {
        rotation::write_authority(&config, &keys)?;
    }
    let tls_bind = config.tls.as_ref().map(|tls| tls.bind);
    let bind = config.http.bind;
    let (rules, file) = (&config.accounts, config.accounts_file());
    let accounts = Accounts::open(config.institution, &file, rules.cost(), rules.limits()).context("the accounts")?;
    if accounts.all().is_empty() {
        tracing::warn!(
            "there are no accounts, so nobody can sign in: voucher-node account add, while the node is stopped"
        );
    }
    let oidc = config.oidc.clone().map(Oidc::open).transpose()?.map(Arc::new);
    let mut node = Node::new(config, writer, clock, keys, client, accounts);
    node.certificates.clone_from(&certificates);
    node.oidc = oidc;
    roles::start(&mut node);
    let node = Data::new(node);

    let woken = Arc::downgrade(&node.clone().into_inner());
    node.writer.ledger().on_commit(Box::new(move || {
        if let Some(node) = woken.upgrade() {
            node.wake();
        }
    }));
    // A plain restart would write at once: not before the next key is taken, if the records that are here name one.
    if !rotation::may_sign(&node) {
        node.writer.ledger().forbid_writing();
    }
    let turned = node.clone();
    tokio::task::spawn_blocking(move || rotation::turn(&turned)).await?.context("the next key")?;
    peers::forks::take_agreed_history(&node).await?;
    tokio::spawn(start_writing(node.clone().into_inner(), plain_restart));
    tokio::spawn(rotation::watch(node.clone().into_inner()));
    tokio::spawn(follow_members(node.clone().into_inner()));
    tokio::spawn(peers::compare::compare(node.clone().into_inner()));
    tokio::spawn(peers::witnesses::ask(node.clone().into_inner()));
    tokio::spawn(peers::clocks::watch(node.clone().into_inner()));
    tokio::spawn(crate::scrub::scrub(node.clone().into_inner()));
    if let Some(oidc) = node.oidc.clone() {
        tokio::spawn(async move { oidc.keep_fresh().await });
    }
    tokio::spawn(peers::courier::deliver(node.clone().into_inner()));
    if node.config.roles.contains(&Role::Issuer) {
        tokio::spawn(api::issuer::publish_periodically(node.clone().into_inner()));
    }
    if node.config.roles.contains(&Role::Auditor) {
        tokio::spawn(api::audit::recount_periodically(node.clone().into_inner()));
    }

    tokio::spawn(crate::tls::serving::look_after(node.clone().into_inner()));

    tokio::spawn(node.limits.clone().forget());

    let served = node.clone();
    let app = move || {
        let node = served.clone();
        let (app, mut openapi) = App::new()
            .app_data(node.clone())
            .into_utoipa_app()
            .openapi(api::ApiDoc::openapi())
            .configure(api::configure)
            .split_for_parts();
        api::openapi::Common.modify(&mut openapi);
        let answering = node.clone();
        app.configure(api::extractors)
            .configure(pages::configure)
            .service(actix_web::web::redirect("/docs", "/docs/"))
            .app_data(Data::new(Allowed::by(&openapi)))
            .service(docs(openapi))
            .default_service(actix_web::web::to(methods::nothing_here))
            .wrap_fn(|request, service| edge::mark(service.call(request)))
            .wrap(Compress::default())
            .wrap(from_fn(move |request, next| edge::pass(answering.clone(), request, next)))
    };
    let listen = |bind| TcpListener::bind(bind).with_context(|| format!("cannot listen on {bind}"));
    let door = |is_over_tls| Door::new(node.config.limits, is_over_tls);
    let plain = door(false).serve(listen(bind)?, None, &node, app.clone())?;
    // Threads of its own: whoever stands at this door keeps nobody on this machine from the other.
    let protected = match (certificates, tls_bind) {
        (Some(certificates), Some(bind)) => {
            let acceptor = TlsAcceptor::from(Arc::new(certificates.server()?));
            let server = door(true).serve(listen(bind)?, Some(acceptor), &node, app)?;
            tracing::info!(%bind, "serving with transport security");
            Some(server)
        }
        _ => None,
    };
    tracing::info!(institution = %node.config.institution, %bind, "serving");
    let handles = std::iter::once(plain.handle()).chain(protected.as_ref().map(Server::handle)).collect();
    tokio::spawn(stop_when_told(node.clone().into_inner(), handles, told_to_stop()?));
    let protected = async {
        match protected {
            Some(server) => server.await,
            None => Ok(()),
        }
    };
    tokio::try_join!(plain, protected).context("the server")?;
    node.writer.ledger().flush();
    Ok(())
}

/// Takes as many open files as the system lets a process have: the usual 1,024 are fewer than the connections of one door, and
/// the journal needs some too.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Ends when the process is told to stop: Ctrl-C or SIGTERM.
fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let hears = |kind| signal(kind).context("signals of the system");
    let (mut interrupt, mut terminate) = (hears(SignalKind::interrupt())?, hears(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Answers whoever waits, then lets the server end what is under way.
async fn stop_when_told(node: Arc<Node>, servers: Vec<ServerHandle>, told: impl Future<Output = ()>) {
    told.await;
    tracing::info!("told to stop");
    node.close();
    futures_util::future::join_all(servers.iter().map(|server| server.stop(true))).await;
}

/// The description of the interface as a page. It asks no other host, such as a validator, for anything.
fn docs(openapi: utoipa::openapi::OpenApi) -> SwaggerUi {
    let config = utoipa_swagger_ui::Config::default().validator_url("none");
    SwaggerUi::new("/docs/{_:.*}").url("/openapi.json", openapi).config(config)
}

/// Satisfies the start rule, then writes what the registrar writes first.
async fn start_writing(node: Arc<Node>, plain_restart: bool) {
    if let Err(error) = peers::start::settle(&node, plain_restart).await {
        tracing::error!(%error, "this node will not write");
        node.set_writing(crate::node::Writing::Forked);
        return;
    }
    tracing::info!("the start rule is satisfied: this node may write");
    if let Err(error) = found_federation(&node) {
        ledger::fail::stop(&error.to_string());
    }
    node.wake();
    while let Err(reason) = node.record_settlement().await {
        tracing::warn!(%reason, "that the trust anchor was replaced is not on record yet: it is tried again");
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

/// Follows every member's log, also of those who join later.
async fn follow_members(node: Arc<Node>) {
    let mut followed = std::collections::BTreeSet::from([node.config.institution]);
    let mut commits = node.commits();
    loop {
        let mut wanted: Vec<_> = node.writer.registry().members.keys().copied().collect();
        wanted.push(node.config.registrar.institution);
        for institution in wanted {
            if followed.insert(institution) {
                tokio::spawn(peers::follower::follow(node.clone(), institution));
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), commits.changed()).await;
    }
}

/// Stops this node, as Ctrl-C does, when standard input ends: a parent that starts nodes holds the other end.
pub fn stop_at_eof() {
    std::thread::spawn(|| {
        let ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        tracing::info!(?ended, "standard input ended: this node stops");
        if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT) {
            ledger::fail::stop(&format!("this node cannot stop by itself: {error}"));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use actix_web::body::to_bytes;
    use actix_web::test::{TestRequest, call_service, init_service};

    use super::*;

    #[actix_web::test]
    async fn the_page_of_the_interface_names_no_other_host() {
        let app = init_service(App::new().service(docs(api::ApiDoc::openapi()))).await;
        let request = TestRequest::get().uri("/docs/swagger-initializer.js").to_request();
        let body = to_bytes(call_service(&app, request).await.into_body()).await.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("\"url\": \"/openapi.json\""), "{text}");
        assert!(text.contains("\"validatorUrl\": \"none\""), "{text}");
        assert!(!text.contains("://"), "{text}");
    }

    fn config(dir: &Path, institution: &str, federation: &str) -> Config {
        let text = format!(
            "version = 1\ninstitution = '{institution}'\nroles = ['issuer']\nfederation = '{federation}'\n\
             [http]\nbind = '127.0.0.1:7101'\nurl = 'http://127.0.0.1:7101'\n\
             [store]\ndir = '{dir}/data'\nkeys = '{dir}/keys'\nmarker_dir = '{dir}'\nmin_free_disk_mib = 1\n\
             [registrar]\ninstitution = '{institution}'\nurl = 'http://127.0.0.1:7101'\n",
            dir = dir.display()
        );
        std::fs::write(dir.join("node.toml"), text).unwrap();
        Config::load(&dir.join("node.toml")).unwrap()
    }

    #[actix_web::test]
    async fn a_log_goes_on_under_its_own_name_alone() {
        // The ledger's threads outlive the test by a moment: their directory must too.
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let clock = || Arc::new(NodeClock::real());
        let config = |institution, federation| config(dir.path(), institution, federation);
        {
            let first = config("health", "town");
            let (writer, keys, _) = open(&first, clock()).unwrap();
            writer.ledger().allow_writing();
            let entry = keys.entry(first.institution, &first.roles, &first.http.url, &first.origin());
            let write = |desk: &mut actors::writer::Desk<'_>| {
                desk.write(Role::Issuer, Body::Registrar(RegistrarEvent::MemberRegistered(entry)))
            };
            let ticket = writer.decide(Act::default(), write).unwrap().ticket;
            writer.durable(ticket).await;
        }
        for (institution, federation) in [("health", "city"), ("other", "town")] {
            let error = open(&config(institution, federation), clock()).err().unwrap().to_string();
            assert!(error.contains("town/health") && error.contains(federation), "{error}");
        }
        assert!(open(&config("health", "town"), clock()).is_ok());
    }

    /// A lost journal beside what is left: the keys of people are not overwritten, and no second history begins.
    #[actix_web::test]
    async fn a_lost_journal_is_told_before_anything_is_done() {
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let config = config(dir.path(), "health", "town");
        let tries = || open(&config, Arc::new(NodeClock::real())).err().map(|error| error.to_string());
        assert_eq!(tries(), None, "a first start");

        note_founding(&config).unwrap();
        let error = tries().unwrap();
        assert!(error.contains("keys/founded") && error.contains("voucher-node restore"), "{error}");
        std::fs::remove_file(founded_file(&config)).unwrap();

        let slots = FileSlots::open(&config.vault()).unwrap();
        let keys = NodeKeys::load_or_make(&config.store.keys).unwrap();
        let vault = Vault::open(slots, keys.vault_key()).unwrap();
        vault.seal_all([(b"somebody".to_vec(), Some(b"known".to_vec()))].into(), |_| None);
        let held = std::fs::read(config.vault()).unwrap();
        let error = tries().unwrap();
        assert!(error.contains("has keys of personal data") && error.contains("is empty"), "{error}");
        assert_eq!(std::fs::read(config.vault()).unwrap(), held);
    }
}
