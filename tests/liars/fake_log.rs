//! A log server that says what it is told to say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actors::clock::Clock as _;
use domain::time::Millis;
use ledger::checkpoint::Checkpoint;
use ledger::key::NoteSigner;
use ledger::merkle::{Edge, leaf_hash};
use ledger::tile::{TileKind, TilePath, encode_bundle};
use node::clock::NodeClock;
use node::peers::clocks::TIME_HEADER;
use parking_lot::Mutex;

/// A log and how it lies.
pub struct FakeLog {
    signer: NoteSigner,
    /// What is signed.
    entries: Vec<Vec<u8>>,
    /// What is served.
    served: Vec<Vec<u8>>,
    /// The leaf hashes that it shows.
    tiles: Option<Vec<u8>>,
    bundle: Option<Vec<u8>>,
    note: Option<Vec<u8>>,
    /// A head that it claims to hold of whoever asks.
    longest: Option<String>,
    /// How far its clock is ahead, which its answers say.
    ahead: Option<Millis>,
}

impl FakeLog {
    pub fn new(signer: NoteSigner, entries: Vec<Vec<u8>>) -> Self {
        let tiles = Some(entries.iter().flat_map(|entry| leaf_hash(entry).0).collect());
        Self { signer, served: entries.clone(), entries, tiles, bundle: None, note: None, longest: None, ahead: None }
    }

    pub fn signed_by(mut self, signer: NoteSigner) -> Self {
        self.signer = signer;
        self
    }

    pub fn changing_entry(mut self, index: usize) -> Self {
        *self.served[index].last_mut().unwrap() ^= 1;
        self
    }

    pub fn leaving_out(mut self, index: usize) -> Self {
        self.served.remove(index);
        self
    }

    pub fn without_tiles(mut self) -> Self {
        self.tiles = None;
        self
    }

    pub fn changing_tiles(mut self) -> Self {
        self.tiles.iter_mut().flatten().for_each(|byte| *byte ^= 1);
        self
    }

    pub fn with_bundle_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.bundle = Some(bytes);
        self
    }

    pub fn with_checkpoint(mut self, note: Vec<u8>) -> Self {
        self.note = Some(note);
        self
    }

    pub fn knowing(mut self, note: &str) -> Self {
        self.longest = Some(note.to_owned());
        self
    }

    pub fn with_clock_ahead(mut self, ahead: Millis) -> Self {
        self.ahead = Some(ahead);
        self
    }

    fn node_time(&self) -> Option<String> {
        self.ahead.map(|ahead| (NodeClock::real().now() + ahead).to_string())
    }

    pub fn checkpoint(&self) -> Vec<u8> {
        let mut edge = Edge::default();
        self.entries.iter().for_each(|e| edge.push(leaf_hash(e)));
        let origin = self.signer.name().to_owned();
        let checkpoint = Checkpoint { origin, size: edge.size(), root: edge.root() };
        checkpoint.sign(&self.signer).into_bytes()
    }

    fn answer(&self, path: &str) -> Option<Vec<u8>> {
        if path == "/log/checkpoint" {
            return Some(self.note.clone().unwrap_or_else(|| self.checkpoint()));
        }
        if path == "/v1/start/longest" {
            return serde_json::to_vec(&serde_json::json!({ "checkpoint": self.longest })).ok();
        }
        let tile: TilePath = path.strip_prefix("/log/")?.parse().ok()?;
        match tile.kind {
            TileKind::Entries if tile.index == 0 => {
                let some = self.served.iter().take(usize::from(tile.width)).map(Vec::as_slice);
                Some(self.bundle.clone().unwrap_or_else(|| encode_bundle(some)))
            }
            TileKind::Hashes(0) if tile.index == 0 => {
                Some(self.tiles.as_ref()?.iter().copied().take(32 * usize::from(tile.width)).collect())
            }
            _ => None,
        }
    }
}

/// A running liar.
pub struct Server {
    pub url: String,
    log: Arc<Mutex<FakeLog>>,
    /// What it says to some.
    apart: Arc<Mutex<HashMap<String, FakeLog>>>,
    asked: Arc<AtomicUsize>,
    handle: actix_web::dev::ServerHandle,
}

impl Server {
    /// From now on it says this.
    pub fn say(&self, log: FakeLog) {
        *self.log.lock() = log;
    }

    /// From now on it says this to one institution.
    pub fn say_to(&self, institution: &str, log: FakeLog) {
        self.apart.lock().insert(institution.to_owned(), log);
    }

    /// How often its checkpoint was asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

/// Serves a log on loopback.
pub async fn serve(log: FakeLog) -> Server {
    let log = Arc::new(Mutex::new(log));
    let asked = Arc::new(AtomicUsize::new(0));
    let apart: Arc<Mutex<HashMap<String, FakeLog>>> = Arc::default();
    let (told, counted, told_apart) = (log.clone(), asked.clone(), apart.clone());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let (told, counted, apart) = (told.clone(), counted.clone(), told_apart.clone());
                App::new().default_service(web::to(move |request: HttpRequest| {
                    let (told, counted, apart) = (told.clone(), counted.clone(), apart.clone());
                    async move {
                        if request.path() == "/log/checkpoint" {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                        let signed = request.headers().get("Signature-Input").and_then(|v| v.to_str().ok());
                        let asker = signed.and_then(|text| text.split("keyid=\"").nth(1)?.split('"').next());
                        let said = |log: &FakeLog| (log.answer(request.path()), log.node_time());
                        let (answer, time) = match apart.lock().get(asker.unwrap_or_default()) {
                            Some(log) => said(log),
                            None => said(&told.lock()),
                        };
                        let mut response = match answer {
                            Some(_) => HttpResponse::Ok(),
                            None => HttpResponse::NotFound(),
                        };
                        if let Some(time) = time {
                            response.insert_header((TIME_HEADER, time));
                        }
                        response.body(answer.unwrap_or_default())
                    }
                }))
            })
            .workers(1)
            .bind("127.0.0.1:0")
            .unwrap();
            let address = server.addrs()[0];
            let server = server.run();
            sender.send((address, server.handle())).ok().unwrap();
            server.await.unwrap();
        });
    });
    let (address, handle) = receiver.await.unwrap();
    Server { url: format!("http://{address}"), log, apart, asked, handle }
}
