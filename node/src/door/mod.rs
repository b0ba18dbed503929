//! The doors of a node: who comes in is counted, shakes hands in time, and is held only as long as there is progress.
//!
//! ```text
//! accept ── too many from there? closed ── Stream (deadlines) ── TLS, at one of the two doors ── HTTP/1.1
//!              all places taken? the longest stranger goes
//! ```

mod stream;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix_http::{HttpServiceBuilder, KeepAlive, Request, Response, body::MessageBody};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::Error;
use actix_web::dev::{AppConfig, Server};
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::{LimitRules, counted};
use crate::node::Node;
pub use stream::Stream;

/// Longest time that requests under way get when the node stops, in seconds.
const SHUTDOWN_SECS: u64 = 5;

/// How long the rest of a body is taken in after an answer that did not wait for it.
const LINGER: Duration = Duration::from_secs(1);

/// No deadline, in milliseconds since the door was opened.
const NEVER: u64 = u64::MAX;

const fn millis(secs: NonZeroU32) -> u64 {
    secs.get() as u64 * 1_000
}

/// What is known of the connections at a door.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, u32>,
    /// Over which nobody has been recognised yet, in the order in which they came.
    strangers: BTreeMap<u64, Arc<Connection>>,
    next: u64,
}

/// A door.
#[derive(Debug)]
pub struct Door {
    rules: LimitRules,
    is_over_tls: bool,
    began: Instant,
    open: Mutex<Open>,
}

/// A connection, as those see it who answer what comes over it.
pub struct Connection {
    door: Arc<Door>,
    number: u64,
    address: IpAddr,
    is_over_tls: bool,
    /// Until when something must come, in milliseconds since the door was opened.
    deadline: AtomicU64,
    /// A request is awaited, and nothing of it has come.
    is_idle: AtomicBool,
    /// A member or an operator asks over it.
    is_known: AtomicBool,
    /// Somebody else has its place now.
    is_shown_out: AtomicBool,
    task: AtomicWaker,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether it has transport security.
    #[must_use]
    pub const fn is_over_tls(&self) -> bool {
        self.is_over_tls
    }

    /// Something must come within so many milliseconds.
    fn within(&self, millis: u64) {
        self.deadline.store(self.door.now().saturating_add(millis), Ordering::Release);
    }

    /// The connection is ready for its first request.
    fn awaits(&self) {
        self.is_idle.store(true, Ordering::Release);
        self.within(millis(self.door.rules.head_secs));
    }

    /// A request has come and is being answered: whoever answers has deadlines of their own.
    #[must_use]
    pub fn asks(self: &Arc<Self>) -> Asking {
        self.is_idle.store(false, Ordering::Release);
        self.deadline.store(NEVER, Ordering::Release);
        Asking(self.clone())
    }

    /// Something went out: what is to come has its time anew. How slowly the other side may read has a bound of its own.
    fn goes_out(&self) {
        let until = self.door.now().saturating_add(millis(self.door.rules.head_secs));
        self.deadline.fetch_max(until, Ordering::AcqRel);
    }

    /// A member or an operator has been recognised: no stranger takes their place.
    pub fn is_of_somebody_known(&self) {
        if !self.is_known.swap(true, Ordering::AcqRel) {
            self.door.open.lock().strangers.remove(&self.number);
        }
    }

    fn show_out(&self) {
        self.is_shown_out.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// A request that is being answered. Afterwards another may come.
#[derive(Debug)]
pub struct Asking(Arc<Connection>);

impl Drop for Asking {
    fn drop(&mut self) {
        let rules = &self.0.door.rules;
        self.0.is_idle.store(true, Ordering::Release);
        self.0.within(millis(rules.idle_secs) + millis(rules.head_secs));
    }
}

/// Gives the place at the door back.
#[derive(Debug)]
struct Held(Arc<Connection>);

impl Drop for Held {
    fn drop(&mut self) {
        let Connection { door, number, address, .. } = &*self.0;
        let mut open = door.open.lock();
        open.all -= 1;
        open.strangers.remove(number);
        if let Some(count) = open.by_address.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(address);
            }
        }
    }
}

impl Door {
    /// A door through which nobody has come.
    #[must_use]
    pub fn new(rules: LimitRules, is_over_tls: bool) -> Arc<Self> {
        let (began, open) = (Instant::now(), Mutex::default());
        Arc::new(Self { rules, is_over_tls, began, open })
    }

    /// Milliseconds since it was opened.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER)
    }

    /// A place for a connection, if there is one for its address.
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Held> {
        let (most, of_one) = (self.rules.connections.get() as usize, self.rules.connections_per_address.get());
        let is_counted = self.rules.counts(address);
        let address = counted(address);
        let mut open = self.open.lock();
        if is_counted && open.by_address.get(&address).is_some_and(|count| *count >= of_one) {
            return None;
        }
        if open.all >= most {
            // Whoever comes to be answered is soon known, or gone.
            let (_, longest) = open.strangers.pop_first()?;
            longest.show_out();
        }
        let number = open.next;
        let connection = Arc::new(Connection {
            door: self.clone(),
            number,
            address,
            is_over_tls: self.is_over_tls,
            deadline: AtomicU64::new(NEVER),
            is_idle: AtomicBool::new(true),
            is_known: AtomicBool::new(false),
            is_shown_out: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        open.next += 1;
        open.all += 1;
        *open.by_address.entry(address).or_default() += 1;
        open.strangers.insert(number, connection.clone());
        Some(Held(connection))
    }

    /// Takes a connection in, if there is a place for it.
    fn enter<Io>(self: &Arc<Self>, io: Io, address: SocketAddr) -> Option<Stream<Io>> {
        let held = self.take(address.ip())?;
        held.0.within(millis(if self.is_over_tls { self.rules.handshake_secs } else { self.rules.head_secs }));
        Some(Stream::new(io, held))
    }

    /// Serves an application at this door, behind transport security where there is an acceptor.
    ///
    /// # Errors
    ///
    /// The system does not let this process listen.
    pub fn serve<F, I, S, B>(
        self: &Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        node: &Data<Node>,
        app: F,
    ) -> io::Result<Server>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig, Error = Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        let workers = node.config.http.workers.max(1);
        // The door counts by itself, and makes room: the server's own bound is never what holds somebody up.
        let most = self.rules.connections.get() as usize * 2;
        let builder = Server::build().workers(workers).max_concurrent_connections(most);
        let builder = builder.shutdown_timeout(SHUTDOWN_SECS).disable_signals();
        let (door, node) = (self.clone(), node.clone());
        let builder = match tls {
            None => builder.listen("plain", listener, move || {
                let http = door.http(&node, app(), Stream::connection);
                door.clone().each(http, |stream| std::future::ready(Ok(stream)))
            })?,
            Some(tls) => builder.listen("tls", listener, move || {
                let http =
                    door.http(&node, app(), |stream: &TlsStream<Stream<TcpStream>>| stream.get_ref().0.connection());
                let tls = tls.clone();
                door.clone().each(http, move |stream| tls.accept(stream))
            })?,
        };
        Ok(builder.run())
    }

    /// What speaks HTTP over a stream that is ready.
    fn http<T, I, S, B>(
        &self,
        node: &Data<Node>,
        app: I,
        connection: fn(&T) -> Arc<Connection>,
    ) -> impl ServiceFactory<(T, Option<SocketAddr>), Config = (), Response = (), InitError = ()> + use<T, I, S, B>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig, Error = Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        let secs = |secs: NonZeroU32| Duration::from_secs(secs.get().into());
        let node = node.clone();
        HttpServiceBuilder::default()
            .keep_alive(KeepAlive::Timeout(secs(self.rules.idle_secs)))
            // It counts for the first request alone; the stream's deadline for each.
            .client_request_timeout(secs(self.rules.head_secs))
            .client_disconnect_timeout(LINGER)
            .graceful_shutdown_signal(move || {
                let node = node.clone();
                async move { node.closing().await }
            })
            .on_connect_ext(move |stream: &T, data| {
                data.insert(connection(stream));
            })
            .h1(map_config(app, |()| AppConfig::default()))
    }

    /// Takes each connection in, makes it ready, and serves it.
    fn each<T, H, R, Fut>(
        self: Arc<Self>,
        http: H,
        ready: R,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = ()> + use<T, H, R, Fut>
    where
        T: 'static,
        H: ServiceFactory<(T, Option<SocketAddr>), Config = (), Response = (), InitError = ()> + 'static,
        R: Fn(Stream<TcpStream>) -> Fut + Clone + 'static,
        Fut: Future<Output = io::Result<T>> + 'static,
    {
        let http = Rc::new(http);
        fn_factory(move || {
            let (door, http, ready) = (self.clone(), http.clone(), ready.clone());
            async move {
                let http = Rc::new(http.new_service(()).await?);
                Ok::<_, ()>(fn_service(move |io: TcpStream| {
                    let (door, http, ready) = (door.clone(), http.clone(), ready.clone());
                    async move {
                        let Ok(address) = io.peer_addr() else { return Ok(()) };
                        // The rest of an answer that goes out in two writes does not wait until the first is acknowledged, which
                        // the other side puts off for 40 ms.
                        let _ = io.set_nodelay(true);
                        let Some(stream) = door.enter(io, address) else { return Ok(()) };
                        let connection = stream.connection();
                        // Who does not shake hands, or not in time, is told nothing.
                        let Ok(stream) = ready(stream).await else { return Ok(()) };
                        connection.awaits();
                        http.call((stream, Some(address))).await
                    }
                }))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::of;

    fn door(open: u32, of_one: u32) -> Arc<Door> {
        let rules = LimitRules { connections: of(open), connections_per_address: of(of_one), ..LimitRules::default() };
        Door::new(rules, true)
    }

    fn take(door: &Arc<Door>, address: &str) -> Option<Held> {
        door.take(address.parse().unwrap())
    }

    #[test]
    fn connections_are_counted_by_address_while_they_are_open() {
        let door = door(100, 2);
        let kept = [take(&door, "192.0.2.1"), take(&door, "::ffff:192.0.2.1")];
        assert!(kept.iter().all(Option::is_some) && take(&door, "192.0.2.1").is_none());
        assert!(take(&door, "192.0.2.2").is_some());
        let network = [take(&door, "2001:db8::1"), take(&door, "2001:db8::2")];
        assert!(network[1].is_some() && take(&door, "2001:db8::3").is_none(), "the network of one customer");
        let local: Vec<_> = (0..10).map(|_| take(&door, "127.0.0.1").unwrap()).collect();
        drop((kept, network, local));
        assert!(take(&door, "192.0.2.1").is_some());
        let open = door.open.lock();
        assert!(open.all == 0 && open.by_address.is_empty() && open.strangers.is_empty());
    }

    #[test]
    fn the_longest_stranger_makes_room_and_who_is_known_stays() {
        let door = door(3, 100);
        let [member, longest, other] = [1, 2, 3].map(|n| take(&door, &format!("192.0.2.{n}")).unwrap());
        let shown_out = |held: &Held| held.0.is_shown_out.load(Ordering::SeqCst);
        member.0.is_of_somebody_known();
        let newer = take(&door, "192.0.2.4").unwrap();
        assert_eq!([&member, &longest, &other, &newer].map(shown_out), [false, true, false, false]);
        drop(longest);
        [&other, &newer].iter().for_each(|held| held.0.is_of_somebody_known());
        assert!(take(&door, "192.0.2.5").is_none(), "all places are those of members and operators");
        drop(member);
        assert!(take(&door, "192.0.2.5").is_some());
    }
}
