//! An institution to measure: a real ledger in a directory, the writer of a node, one programme, one holder.
//!
//! It plays all roles of a voucher itself, so that one log carries whole lives by the rules that every node applies.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actors::issuer::{MAX_CHUNK, batch_ids};
use actors::replica;
use actors::token::{HolderKey, VoucherName, vp1, vq1};
use actors::writer::{Act, Desk, Done, Refused, Writer};
use anyhow::Context as _;
use domain::holder::RegistrarEvent;
use domain::ids::{Digest, EnrolmentId, InstitutionId, Operator, RecordName, VoucherId};
use domain::lifecycle::Step;
use domain::member::{MemberEntry, Parameters, Role};
use domain::policy::{Class, Policy, ProgrammeEvent};
use domain::reasons::Reason;
use domain::record::{Body, Presentation};
use domain::time::Millis;
use ledger::key::NoteVerifier;
use ledger::merkle::leaf_hash;
use node::clock::NodeClock;
use node::config::{AccountRules, Config, Http, LogRules, Peers, Registrar, Store};
use node::keys::NodeKeys;
use parking_lot::Mutex;
use uuid::Uuid;

/// The roles that the measured institution plays.
const ROLES: [Role; 4] = [Role::Issuer, Role::Community, Role::Voucher, Role::Hospital];

/// Rest before a batch is offered again that the ledger could not take.
const BUSY_REST: Duration = Duration::from_millis(1);

/// An institution with its writer.
pub(crate) struct House {
    pub(crate) config: Config,
    pub(crate) writer: Arc<Writer>,
    pub(crate) clock: Arc<NodeClock>,
    programme: RecordName,
    holder: Holder,
    ids: Mutex<Vec<Uuid>>,
}

struct Holder {
    enrolment: RecordName,
    id: EnrolmentId,
    key: HolderKey,
}

/// The steps of a voucher's life, in order.
pub(crate) const STEPS_OF_A_LIFE: u64 = 10;

/// Steps that need no holder: generated, sent, encoded.
pub(crate) const STEPS_TO_A_QR: u64 = 3;

/// The configuration of an institution that listens on a free port of this machine.
///
/// `trust` is the registrar, none for the registrar itself.
pub(crate) fn config(dir: &Path, id: &str, roles: &[Role], trust: Option<&Config>) -> anyhow::Result<Config> {
    let bind: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("http://{bind}");
    let institution: InstitutionId = id.parse()?;
    let registrar = match trust {
        Some(trust) => Registrar {
            institution: trust.institution,
            url: trust.http.url.clone(),
            log_vkey: verifier(trust)?.to_string(),
            history: None,
        },
        None => Registrar { institution, url: url.clone(), log_vkey: String::new(), history: None },
    };
    Ok(Config {
        version: 1,
        institution,
        roles: roles.to_vec(),
        federation: "bench".into(),
        utc_offset_minutes: 480,
        http: Http { bind, url, workers: 1 },
        store: Store {
            dir: dir.join(id).join("ledger"),
            keys: dir.join(id).join("keys"),
            vault: None,
            min_free_disk_mib: 512,
            scrub_kib_per_sec: 0,
            marker_dir: dir.join(id),
        },
        registrar,
        peers: Peers { poll_wait_secs: 5, ..Peers::default() },
        tls: None,
        log: LogRules { public: true },
        status: Default::default(),
        accounts: AccountRules::default(),
        retention: Default::default(),
        limits: Default::default(),
        oidc: None,
    })
}

/// The key that verifies the log of an institution whose keys lie on this machine.
pub(crate) fn verifier(config: &Config) -> anyhow::Result<NoteVerifier> {
    let keys = NodeKeys::load_or_make(&config.store.keys)?;
    Ok(keys.log_signer(&config.origin())?.verifier().clone())
}

impl House {
    /// Founds a federation of one in a directory that has none yet, with a programme and a holder.
    pub(crate) fn found(dir: &Path) -> anyhow::Result<Self> {
        let config = config(dir, "nanjing-health", &ROLES, None)?;
        let clock = Arc::new(NodeClock::real());
        let (writer, keys, _) = node::server::open(&config, clock.clone())?;
        writer.ledger().allow_writing();
        let me = config.institution;
        let entry = keys.entry(me, &ROLES, &config.http.url, &config.origin());
        let key = HolderKey::ed25519(&[7; 32]);
        let id = EnrolmentId(Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677));
        let founded = writer.decide(Act::default(), |desk| {
            desk.write(Role::Issuer, Body::Registrar(RegistrarEvent::MemberRegistered(entry)))?;
            desk.write(Role::Issuer, Body::Registrar(RegistrarEvent::ParametersPublished(Parameters::default())))?;
            let programme = desk.write(Role::Issuer, Body::Programme(ProgrammeEvent::Published(policy()?)))?;
            let enrolled = RegistrarEvent::Enrolled {
                id,
                key: Some(replica::holder_key(&key.public())),
                programme,
                community: me,
                voucher_module: me,
            };
            Ok((programme, desk.write(Role::Issuer, Body::Registrar(enrolled))?))
        })?;
        let (programme, enrolment) = founded.answer;
        Ok(Self { config, writer, clock, programme, holder: Holder { enrolment, id, key }, ids: Mutex::default() })
    }

    /// Registers another institution.
    pub(crate) fn register(&self, entry: MemberEntry) -> anyhow::Result<()> {
        self.decide(|desk| {
            desk.write(Role::Issuer, Body::Registrar(RegistrarEvent::MemberRegistered(entry.clone())))?;
            Ok(())
        })?;
        Ok(())
    }

    /// A new voucher's id, out of a batch as an issuer generates it.
    pub(crate) fn voucher(&self) -> VoucherId {
        let mut ids = self.ids.lock();
        if ids.is_empty() {
            *ids = batch_ids(MAX_CHUNK, rand::random);
        }
        VoucherId { issuer: self.config.institution, uuid: ids.pop().unwrap_or_default() }
    }

    /// Decides as an operator; waits while the ledger cannot take more.
    pub(crate) fn decide<T>(&self, decision: impl Fn(&mut Desk<'_>) -> Result<T, Refused>) -> Result<Done<T>, Refused> {
        let act = Act { operator: Some(Operator(Uuid::from_u128(1))), idempotency: None };
        loop {
            match self.writer.decide(act, &decision) {
                Err(Refused::Reason(Reason::Busy)) => std::thread::sleep(BUSY_REST),
                other => return other,
            }
        }
    }

    /// Writes the `nth` step of a voucher, from 0: generated, sent, encoded, issued, booked, confirmed, in use, examined,
    /// claimed, redeemed.
    pub(crate) fn step(&self, desk: &mut Desk<'_>, voucher: VoucherId, nth: u64) -> Result<RecordName, Refused> {
        let (me, now) = (self.config.institution, desk.now);
        let (role, step) = match nth {
            0 => {
                let (valid_from, valid_until) = (now, now + Millis::days(30));
                (Role::Issuer, Step::Generated { programme: self.programme, valid_from, valid_until })
            }
            1 => (Role::Issuer, Step::Sent { community: me }),
            2 => (Role::Community, Step::Encoded { token: token(voucher) }),
            3 => {
                let step = vp1::Step::Receive { community: me.to_string(), programme: "heart-check".into() };
                let presentation = self.present(desk, step)?;
                (Role::Community, Step::Issued { enrolment: self.holder.enrolment, presentation })
            }
            4 => {
                let (respond_by, use_from, use_by) = (now + Millis::hours(1), now, now + Millis::hours(2));
                (Role::Voucher, Step::Booked { hospital: me, details: Digest([4; 32]), respond_by, use_from, use_by })
            }
            5 => (Role::Hospital, Step::BookingConfirmed),
            6 => {
                let step = vp1::Step::Arrive { audience: me.to_string(), voucher: named(voucher) };
                let presentation = self.present(desk, step)?;
                (Role::Hospital, Step::UseConfirmed { presentation, complete_by: now + Millis::days(7) })
            }
            7 => {
                let step = vp1::Step::Complete { audience: me.to_string(), voucher: named(voucher) };
                let (evidence, presentation) = (Digest([5; 32]), self.present(desk, step)?);
                (Role::Hospital, Step::ExamCompleted { evidence, presentation, claim_by: now + Millis::days(30) })
            }
            8 => (Role::Hospital, Step::RedemptionClaimed { answers: None }),
            _ => (Role::Issuer, Step::Redeemed),
        };
        desk.step(role, voucher, step)
    }

    /// The holder signs a step with the phone.
    fn present(&self, desk: &Desk<'_>, step: vp1::Step) -> Result<Presentation, Refused> {
        let mut kid = [0; 8];
        kid.copy_from_slice(&self.holder.id.0.as_bytes()[..8]);
        let claims = vp1::Claims { kid, iat: desk.now.secs(), cti: rand::random(), step };
        let text = vp1::sign(&claims, &self.holder.key).map_err(|_| Reason::Malformed)?;
        let token = vp1::parse(&text).map_err(|_| Reason::Malformed)?;
        Ok(Presentation { cose: token.cose_bytes().to_vec(), assisted: None })
    }

    /// Writes until the log has at least `size` records: vouchers to their QR, 999 records in a decision.
    pub(crate) fn grow(&self, size: u64) -> anyhow::Result<()> {
        while self.size() < size {
            let vouchers: Vec<_> = (0..333).map(|_| self.voucher()).collect();
            self.decide(|desk| {
                for nth in 0..STEPS_TO_A_QR {
                    for voucher in &vouchers {
                        self.step(desk, *voucher, nth)?;
                    }
                }
                Ok(())
            })?;
        }
        self.writer.ledger().flush();
        Ok(())
    }

    /// Writes whole lives, with every presentation, until the log has at least `size` records.
    pub(crate) fn live(&self, size: u64) -> anyhow::Result<()> {
        while self.size() < size {
            let voucher = self.voucher();
            self.decide(|desk| (0..STEPS_OF_A_LIFE).try_for_each(|nth| self.step(desk, voucher, nth).map(drop)))?;
        }
        self.writer.ledger().flush();
        Ok(())
    }

    /// Records in the log, those that are not yet durable included.
    pub(crate) fn size(&self) -> u64 {
        self.writer.ledger().accepted_size(&self.config.origin())
    }

    /// Records that are durable.
    pub(crate) fn durable_size(&self) -> u64 {
        self.writer.ledger().head(&self.config.origin()).map_or(0, |head| head.checkpoint.size)
    }

    /// Stops writing and gives the directory free.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        let writer = Arc::into_inner(self.writer).context("the writer is still in use")?;
        writer.ledger().clone().close();
        Ok(())
    }
}

fn policy() -> Result<Policy, Refused> {
    let name = |text: &str| text.parse().map_err(|_| Refused::from(Reason::Malformed));
    Ok(Policy {
        programme: name("heart-check")?,
        title_zh: "心脏检查".into(),
        title_en: "Heart check".into(),
        service: name("ecg")?,
        issuing_department: "市卫健委".into(),
        classes: vec![Class::Elderly],
        validity_days: 30,
        vouchers_per_holder: 10,
        departments: vec![name("cardiology")?],
        card_allowed: false,
    })
}

fn named(voucher: VoucherId) -> VoucherName {
    VoucherName { issuer: voucher.issuer.to_string(), id: voucher.uuid }
}

/// Characters of base45.
const BASE45: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// A text as long as a VQ1 of this voucher and as hard to pack; who signs tokens is not what is measured here.
/// Its noise is made once: a row of one voucher packs no better for it.
fn token(voucher: VoucherId) -> String {
    static NOISE: LazyLock<String> = LazyLock::new(|| {
        let bytes = (0..8_u8).flat_map(|n| leaf_hash(&[n]).0).take(208);
        bytes.map(|byte| char::from(BASE45[usize::from(byte) % BASE45.len()])).collect()
    });
    let mut token = String::with_capacity(vq1::PREFIX.len() + 240);
    token.push_str(vq1::PREFIX);
    token.push_str(voucher.uuid.simple().encode_upper(&mut Uuid::encode_buffer()));
    token.push_str(&NOISE);
    token
}
