//! The server's side: which certificate is shown to whom, and the renewal of both while the node runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use domain::ids::InstitutionId;
use ed25519_dalek::SigningKey;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use utoipa::ToSchema;

use super::certificate::{self, Issued};
use super::{PEER_PROTOCOL, provider};
use crate::clock::machine_time;
use crate::config::Config;
use crate::node::Node;

/// The own certificate is renewed when less than this is left of it.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 86_400);

/// Warnings begin when less than this is left: weeks in which somebody can do something.
pub const WARN_BEFORE: Duration = Duration::from_secs(21 * 86_400);

/// How often files and dates are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Issued by the node key, for other nodes.
    Node,
    /// Of the configured authority, for browsers.
    Public,
}

impl Kind {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Public => "public",
        }
    }
}

/// How long a certificate still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct CertificateView {
    /// Whose it is.
    pub kind: Kind,
    /// Seconds since 1970, by the machine's clock.
    pub not_after_secs: u64,
    /// Whole days that are left; below zero when it is over.
    pub days_left: i64,
    /// Fewer than 21 days are left: somebody must do something.
    pub is_ending: bool,
}

impl CertificateView {
    fn of(kind: Kind, not_after: SystemTime, now: SystemTime) -> Self {
        let secs = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let left = secs(not_after).cast_signed() - secs(now).cast_signed();
        let is_ending = left < WARN_BEFORE.as_secs().cast_signed();
        Self { kind, not_after_secs: secs(not_after), days_left: left.div_euclid(86_400), is_ending }
    }
}

/// A certificate that is shown now.
#[derive(Debug, Clone)]
struct Shown {
    certified: Arc<CertifiedKey>,
    not_after: SystemTime,
}

impl From<Issued> for Shown {
    fn from(issued: Issued) -> Self {
        Self { certified: Arc::new(issued.certified), not_after: issued.not_after }
    }
}

/// The files of a public certificate.
#[derive(Debug, Clone)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn load(&self) -> anyhow::Result<Issued> {
        certificate::load(&self.chain, &self.key)
    }

    /// When the files were last written; another answer means other files.
    fn written(&self) -> [Option<SystemTime>; 2] {
        [&self.chain, &self.key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
    }
}

/// The certificates of a node.
pub struct Certificates {
    institution: InstitutionId,
    node_key: RwLock<SigningKey>,
    names: Vec<String>,
    files: Option<Files>,
    node: RwLock<Shown>,
    public: RwLock<Option<Shown>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Issues the node's own certificate, and reads the public one where one is configured. None without `[tls]`.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, or a name that is none.
    pub fn open(config: &Config, node_key: SigningKey) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(tls) = &config.tls else { return Ok(None) };
        let mut names = tls.names.clone();
        names.extend(config.host().filter(|host| !tls.names.contains(host)));
        let files = tls.certificate.clone().zip(tls.key.clone()).map(|(chain, key)| Files { chain, key });
        let public = files.as_ref().map(Files::load).transpose().context("tls.certificate")?;
        let institution = config.institution;
        let own = certificate::issue(institution, &node_key, &names, machine_time()).context("tls")?;
        let (node, public) = (RwLock::new(own.into()), RwLock::new(public.map(Shown::from)));
        let node_key = RwLock::new(node_key);
        Ok(Some(Arc::new(Self { institution, node_key, names, files, node, public })))
    }

    /// What `[tls].bind` serves with.
    ///
    /// # Errors
    ///
    /// The library cannot be set up.
    pub fn server(self: &Arc<Self>) -> anyhow::Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut server = builder.with_no_client_auth().with_cert_resolver(self.clone());
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(server)
    }

    /// How long each still holds.
    #[must_use]
    pub fn views(&self) -> Vec<CertificateView> {
        let now = machine_time();
        let node = CertificateView::of(Kind::Node, self.node.read().not_after, now);
        let public = self.public.read().as_ref().map(|p| CertificateView::of(Kind::Public, p.not_after, now));
        std::iter::once(node).chain(public).collect()
    }

    /// Renews the own certificate when it is time. Who is connected stays so.
    pub(super) fn renew(&self, now: SystemTime) -> anyhow::Result<()> {
        let left = self.node.read().not_after.duration_since(now).unwrap_or_default();
        if left < RENEW_BEFORE {
            let issued = certificate::issue(self.institution, &self.node_key.read(), &self.names, now)?;
            *self.node.write() = issued.into();
            tracing::info!("the node's certificate is renewed");
        }
        Ok(())
    }

    /// Issues the own certificate anew, under another node key. Who is connected stays so.
    ///
    /// # Errors
    ///
    /// It cannot be issued; the old one is shown further.
    pub fn take(&self, node_key: SigningKey) -> anyhow::Result<()> {
        let issued = certificate::issue(self.institution, &node_key, &self.names, machine_time())?;
        *self.node_key.write() = node_key;
        *self.node.write() = issued.into();
        Ok(())
    }

    /// Reads the public certificate again.
    pub(super) fn reload(&self) -> anyhow::Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let (loaded, now) = (Shown::from(files.load()?), machine_time());
        let mut public = self.public.write();
        let is_over = |shown: &Shown| shown.not_after <= now;
        anyhow::ensure!(
            !is_over(&loaded) || public.as_ref().is_none_or(is_over),
            "{} is over already, and the one that is shown is not",
            files.chain.display()
        );
        *public = Some(loaded);
        drop(public);
        tracing::info!(file = %files.chain.display(), "the public certificate is read again");
        Ok(())
    }

    /// Looks after dates and files, again and again.
    async fn look_after(&self, mut told: impl FnMut(&[CertificateView])) {
        let mut written = self.files.as_ref().map(Files::written);
        loop {
            if let Err(error) = self.renew(machine_time()) {
                tracing::error!(error = format!("{error:#}"), "the node's certificate cannot be renewed");
            }
            let views = self.views();
            for CertificateView { kind, days_left, .. } in views.iter().filter(|view| view.is_ending) {
                if *days_left < 0 {
                    tracing::error!(certificate = kind.as_str(), days_left, "a certificate is over: nobody takes it");
                } else {
                    tracing::warn!(certificate = kind.as_str(), days_left, "a certificate ends soon");
                }
            }
            told(&views);
            tokio::time::sleep(EVERY).await;
            let now_written = self.files.as_ref().map(Files::written);
            if now_written != written {
                match self.reload() {
                    Ok(()) => written = now_written,
                    // The old one is shown until both files fit: they may be written one after the other.
                    Err(error) => tracing::error!(
                        error = format!("{error:#}"),
                        "the public certificate cannot be read; the old one stays"
                    ),
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_peer = hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == PEER_PROTOCOL));
        if !is_peer && let Some(public) = &*self.public.read() {
            return Some(public.certified.clone());
        }
        Some(self.node.read().certified.clone())
    }
}

/// Looks after the node's certificates until it stops: renews, reads again, warns.
pub async fn look_after(node: Arc<Node>) {
    let Some(certificates) = node.certificates.clone() else { return };
    certificates
        .look_after(|views| {
            for view in views {
                let labels = crate::telemetry::CertificateLabels { certificate: view.kind.as_str() };
                node.metrics.certificate_not_after.get_or_create(&labels).set(view.not_after_secs.cast_signed());
            }
        })
        .await;
}
