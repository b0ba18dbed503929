//! Replication over HTTP on one machine: a node that serves its log, and one that follows it, verifies, stores and folds.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::Data;
use actix_web::{App, HttpServer};
use domain::ids::InstitutionId;
use domain::member::Role;
use node::accounts::Accounts;
use node::clock::NodeClock;
use node::config::Config;
use node::keys::NodeKeys;
use node::node::Node;
use node::peers::client::PeerClient;
use utoipa_actix_web::AppExt as _;

use crate::house::{self, House};
use crate::report::{Line, Times};

/// How long the follower may take to catch up before the run is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Rest between two records whose way to the other side is timed.
const REST: Duration = Duration::from_millis(4);

/// How long a single record may take to the other side.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Two nodes: the house's, which serves, and one that has nothing yet.
pub(crate) struct Pair {
    house: Arc<House>,
    follower: Arc<Node>,
    server: actix_web::dev::ServerHandle,
    following: Option<tokio::task::JoinHandle<()>>,
}

impl Pair {
    /// Serves the house's log, and opens an empty follower in `dir`.
    pub(crate) fn open(house: Arc<House>, dir: &Path) -> anyhow::Result<Self> {
        let config = house::config(dir, "audit-office", &[Role::Auditor], Some(&house.config))?;
        let keys = NodeKeys::load_or_make(&config.store.keys)?;
        house.register(keys.entry(config.institution, &config.roles, &config.http.url, &config.origin()))?;
        let server = serve(&house)?;
        let (writer, keys, _) = node::server::open(&config, house.clock.clone())?;
        let follower = Data::new(node_of(config, writer, house.clock.clone(), keys)?);
        wake_on_commit(&follower);
        Ok(Self { house, follower: follower.into_inner(), server, following: None })
    }

    fn of(&self) -> InstitutionId {
        self.house.config.institution
    }

    fn held(&self) -> u64 {
        let ledger = self.follower.writer.ledger();
        ledger.head(&self.house.config.origin()).map_or(0, |head| head.checkpoint.size)
    }

    /// The follower takes over everything; the time ends when all is durable, folded and stored there.
    pub(crate) async fn catch_up(&mut self) -> anyhow::Result<Line> {
        let began = Instant::now();
        self.following = Some(tokio::spawn(node::peers::follower::follow(self.follower.clone(), self.of())));
        let size = self.house.durable_size();
        self.until(size, PATIENCE).await?;
        self.follower.writer.ledger().flush();
        let folded = self.follower.writer.read(|work| work.cursor(self.of()).next).answer;
        anyhow::ensure!(folded >= size, "{folded} of {size} records are folded");
        Ok(Line::rate("catchup", "records/s", size, began.elapsed(), Times::default()))
    }

    /// Single records at rest: from the request to write one to its being durable and folded on the other side.
    pub(crate) async fn live_delay(&self, span: Duration) -> anyhow::Result<Line> {
        let (began, mut times) = (Instant::now(), Times::default());
        while began.elapsed() < span {
            let voucher = self.house.voucher();
            let asked = Instant::now();
            self.house.decide(|desk| self.house.step(desk, voucher, 0))?;
            self.until(self.house.size(), ARRIVAL).await?;
            times.since(asked);
            tokio::time::sleep(REST).await;
        }
        let (p50_ms, p99_ms) = times.percentiles();
        let value = p50_ms.unwrap_or_default();
        Ok(Line { workload: "live_delay", unit: "ms", value, p50_ms, p99_ms })
    }

    async fn until(&self, size: u64, patience: Duration) -> anyhow::Result<()> {
        let mut commits = self.follower.commits();
        let grown = async {
            while self.held() < size {
                if commits.changed().await.is_err() {
                    break;
                }
            }
        };
        let waited = tokio::time::timeout(patience, grown).await;
        anyhow::ensure!(waited.is_ok(), "the follower has {} of {size} records", self.held());
        Ok(())
    }

    /// Ends both sides.
    pub(crate) async fn close(self) {
        if let Some(following) = self.following {
            following.abort();
            let _ = following.await; // it was told to end
        }
        self.server.stop(false).await;
    }
}

fn node_of(
    config: Config,
    writer: Arc<actors::writer::Writer>,
    clock: Arc<NodeClock>,
    keys: NodeKeys,
) -> anyhow::Result<Node> {
    let client = PeerClient::new(&config, &keys, writer.clone())?;
    let (rules, file) = (&config.accounts, config.accounts_file());
    let accounts = Accounts::open(config.institution, &file, rules.cost(), rules.limits())?;
    Ok(Node::new(config, writer, clock, keys, client, accounts))
}

fn wake_on_commit(node: &Data<Node>) {
    let woken = Arc::downgrade(&node.clone().into_inner());
    node.writer.ledger().on_commit(Box::new(move || {
        if let Some(node) = woken.upgrade() {
            node.wake();
        }
    }));
}

/// Serves the routes of the log as a node does, with one thread.
fn serve(house: &House) -> anyhow::Result<actix_web::dev::ServerHandle> {
    let keys = NodeKeys::load_or_make(&house.config.store.keys)?;
    let node = Data::new(node_of(house.config.clone(), house.writer.clone(), house.clock.clone(), keys)?);
    wake_on_commit(&node);
    let bind = house.config.http.bind;
    let server = HttpServer::new(move || {
        App::new().app_data(node.clone()).into_utoipa_app().configure(node::api::log::configure).into_app()
    })
    .workers(1)
    .disable_signals()
    .bind(bind)?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(handle)
}
