//! The demo: six institutions as six processes on this machine, the phones of their holders, and a story with checks.
//!
//! The nodes are children of this process and hold no key of a holder; this process holds the phones' keys and reaches
//! the nodes by REST alone, as a phone and a desk do.

mod client;
mod clock;
mod desk;
mod desks;
mod federation;
mod holder;
mod people;
mod phone;
mod report;
mod scenes;
mod story;
mod wait;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chrono::Weekday;
use domain::member::Role;
use domain::time::Millis;
use serde::{Deserialize, Serialize};

use client::Client;
use clock::FederationClock;
use federation::{Federation, Institution, write_whole};
use holder::{Holder, Part};
use people::{Cast, Sample};
use phone::Keyring;
use report::Story;
use wait::Patience;
use world::{Days, Places, World};

use crate::import::Resident;

/// Where a directory keeps what it remembers.
const MEMORY: &str = "demo.json";

/// Where a directory keeps what came of each check of the last story.
const CHECKS: &str = "checks.json";

/// Exit code of a demo in which a check failed, or that was interrupted.
const BAD: u8 = 1;

/// From a booking to the busy morning there is at least this long, so that bookings can be answered, changed and moved.
const BEFORE_THE_MORNING: Millis = Millis::hours(40);

/// Within this time every appointment of a story is over.
const LEFT_BEHIND: Millis = Millis::days(10);

/// A step after which nobody is taken for silent: shorter than the grace before use.
const WITHIN_GRACE: Millis = Millis::hours(20);

const AFTER_HELP: &str = "\
Examples:
  voucher-node demo                       lives through the story, then leaves the nodes running until Ctrl-C
  voucher-node demo --once                ends after the story: exit code 0 only if every check held
  voucher-node demo --once --dir /tmp/d   keeps the stores; started again, it goes on from them with other people

The nodes listen on 127.0.0.1:7101 to 7106, or on free ports if one of those is taken. DIR/federation.json says where,
DIR/INSTITUTION/node.log is what each node says, DIR/checks.json what came of each check. Time is one clock for all, ahead of the machine's by whole steps.";

/// What the demo is asked to do.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct DemoArgs {
    /// End after the story; without it the nodes go on running until Ctrl-C
    #[arg(long)]
    pub once: bool,
    /// Keep stores, keys and federation.json here; without it everything is removed at the end
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How long the story waits for what the nodes do by themselves, before a check has failed
    #[arg(long, value_name = "SECS", default_value_t = 30)]
    pub patience_secs: u64,
}

/// What a directory remembers from one start to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// Lines of the table of residents whose people have played a part.
    taken: BTreeSet<u32>,
    /// Size of each log at the end.
    sizes: BTreeMap<String, u64>,
    /// A voucher that was redeemed.
    redeemed: Option<String>,
    /// The last story broke off.
    #[serde(default)]
    unfinished: bool,
}

impl Memory {
    fn load(file: &Path) -> anyhow::Result<Self> {
        match std::fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| file.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    fn keep(&self, file: &Path) -> anyhow::Result<()> {
        write_whole(file, &serde_json::to_vec_pretty(self)?)
    }
}

/// Runs the demo.
///
/// # Errors
///
/// It cannot begin: the directory cannot be used, or a node does not start. A check that fails is no error but exit code 1.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("threads for the demo")?;
    runtime.block_on(demo(&args))
}

async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("voucher-demo-{}", std::process::id())),
    };
    let federation = Federation::prepare(&dir, args.dir.is_some())?;
    let mut world = world(federation, Patience(Duration::from_secs(args.patience_secs)))?;
    let told = tokio::select! {
        told = tell(&mut world) => Some(told),
        interrupted = tokio::signal::ctrl_c() => { interrupted?; None }
    };
    let good = matches!(told, Some(Ok(()))) && world.story.checks.all_held();
    let mut by_hand = told.is_none();
    if let Some(told) = &told {
        if let Err(error) = told {
            world.story.check("story-told", false, format!("the story broke off: {error:#}"));
        }
        world.story.verdict();
        write_whole(&world.federation.dir.join(CHECKS), &serde_json::to_vec_pretty(&world.story.checks)?)?;
        if told.is_ok() && !args.once {
            addresses(&mut world).await?;
            tokio::signal::ctrl_c().await?;
            by_hand = true;
        }
    }
    world.federation.stop().await;
    if by_hand {
        farewell(&mut world, args, told.is_some());
    }
    told.transpose()?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

fn world(federation: Federation, patience: Patience) -> anyhow::Result<World> {
    let clock = FederationClock::load(&federation.dir.join("clock.json"), federation.offset, patience.0)?;
    let client = Client::new(federation.urls(), federation.desks.clone(), patience.0)?;
    let first = |role| -> anyhow::Result<String> {
        Ok((*federation.playing(role).first().with_context(|| format!("nobody plays {}", role.as_str()))?).to_owned())
    };
    let all = |role| federation.playing(role).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let places = Places {
        issuer: first(Role::Issuer)?,
        communities: all(Role::Community),
        module: first(Role::Voucher)?,
        hospitals: all(Role::Hospital),
        auditor: first(Role::Auditor)?,
    };
    let communities: Vec<&str> = places.communities.iter().map(String::as_str).collect();
    let sample = Sample::read(&communities, clock.now().day_at(federation.offset))?;
    let days = days(&clock)?;
    let memory = Memory::load(&federation.dir.join(MEMORY))?;
    Ok(World {
        federation,
        client,
        clock,
        patience,
        story: Story::default(),
        sample,
        places,
        memory,
        crowd: Vec::new(),
        parts: BTreeMap::new(),
        phoneless: None,
        days,
        offers: BTreeMap::new(),
        given: BTreeMap::new(),
        card: None,
    })
}

/// Days and times of a story that begins now.
fn days(clock: &FederationClock) -> anyhow::Result<Days> {
    let morning = clock.next(Weekday::Mon, 9, 30, BEFORE_THE_MORNING)?;
    Ok(Days { morning, day_after: morning + Millis::hours(24) })
}

/// Starts everything, lives through the story and remembers what the next start must find.
async fn tell(world: &mut World) -> anyhow::Result<()> {
    begin(world).await?;
    let mut taken = world.memory.taken.clone();
    let Some(cast) = Cast::pick(&world.sample.residents, &mut taken) else {
        world
            .story
            .tell("Everybody in the table of residents has played a part: nothing new happens from this directory.");
        return Ok(());
    };
    if world.memory.unfinished {
        clear_up(world).await?;
    }
    world.memory.taken = taken;
    world.memory.unfinished = true;
    assign(world, &cast)?;
    // Kept before the first of them is registered: nobody is registered twice, however this start ends.
    world.memory.keep(&world.federation.dir.join(MEMORY))?;
    story::live(world).await;
    world.memory.sizes = world.clock.quiet(&world.client).await?;
    world.memory.unfinished = false;
    world.memory.keep(&world.federation.dir.join(MEMORY))
}

/// Lets the appointments pass that a story left behind when it broke off.
///
/// Longer steps would take hospital and voucher module for silent: the issuer takes vouchers back from who says nothing for
/// a day.
async fn clear_up(world: &mut World) -> anyhow::Result<()> {
    world.story.chapter("An earlier story broke off", world.clock.local(world.clock.now()));
    let over = world.clock.now() + LEFT_BEHIND;
    while world.clock.now() < over {
        world.step_to(world.clock.now() + WITHIN_GRACE, "what was booked may lapse").await?;
    }
    world.days = days(&world.clock)?;
    Ok(())
}

/// Starts the nodes, and checks that they know each other and what they knew before.
async fn begin(world: &mut World) -> anyhow::Result<()> {
    let World { federation, client, clock, story, memory, .. } = world;
    story.chapter("Six institutions, six processes", clock.local(clock.now()));
    let registered = federation.start(client, clock.ahead()).await?;
    for Institution { id, roles, url, pid, .. } in federation.institutions() {
        let roles = roles.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", ");
        story.tell(format!("{id:<18} {roles:<20} {url}   process {}", pid.unwrap_or_default()));
    }
    if registered > 0 {
        story.tell(format!("{registered} institutions proved their keys to the registrar and were registered."));
    }
    let sizes = clock.quiet(client).await?;
    let shorter: Vec<&str> = memory
        .sizes
        .iter()
        .filter(|(id, size)| sizes.get(*id).is_none_or(|now| now < size))
        .map(|(id, _)| id.as_str())
        .collect();
    if !memory.sizes.is_empty() {
        let names = if shorter.is_empty() { "none".to_owned() } else { shorter.join(", ") };
        let detail = format!("{} logs are as long as at the last stop, or longer; shorter: {names}", sizes.len());
        story.check("stores-kept", shorter.is_empty(), detail);
    }
    if let Some(voucher) = memory.redeemed.clone() {
        for id in client.institutions().map(str::to_owned).collect::<Vec<_>>() {
            let stage = world.stage_at(&id, &voucher).await;
            world.story.check("redeemed-stays", stage == "redeemed", format!("{id} says of {voucher:.40}: {stage}"));
        }
    }
    Ok(())
}

/// Gives everybody a phone and a part.
fn assign(world: &mut World, cast: &Cast) -> anyhow::Result<()> {
    let keyring = Keyring::load_or_make(&world.federation.dir.join("phones.secret"))?;
    let mut model = 0;
    let mut holder = |person: &Resident| -> anyhow::Result<Holder> {
        model += 1;
        let open: Vec<String> = world.sample.open_to(person.class).map(|p| p.programme.clone()).collect();
        let phone = keyring.phone(person.document.as_str(), &open, model, world.clock.shared());
        let programme = world.sample.programme_for(person.class)?.programme.clone();
        Ok(Holder { person: person.clone(), phone, programme, vouchers: Vec::new() })
    };
    let parts = [
        (Part::Canceller, &cast.canceller),
        (Part::Mover, &cast.mover),
        (Part::Absent, &cast.absent),
        (Part::Doubler, &cast.doubler),
        (Part::Thief, &cast.thief),
        (Part::Forgetful, &cast.forgetful),
        (Part::Departed, &cast.departed),
        (Part::Denier, &cast.denier),
    ];
    let crowd = cast.crowd.iter().map(&mut holder).collect::<anyhow::Result<_>>()?;
    let parts = parts.into_iter().map(|(part, person)| Ok((part, holder(person)?))).collect::<anyhow::Result<_>>()?;
    world.crowd = crowd;
    world.parts = parts;
    world.phoneless = Some(cast.phoneless.clone());
    Ok(())
}

/// Says what Ctrl-C has ended, and what is left of it.
fn farewell(world: &mut World, args: &DemoArgs, was_told: bool) {
    let World { federation, story, .. } = world;
    let dir = federation.dir.display();
    if !was_told {
        story.tell("The story was not told to its end.");
    }
    story.tell(format!("Ctrl-C: the {} nodes are stopped.", federation.institutions().count()));
    story.tell(match args.dir {
        Some(_) => format!("Their stores stay in {dir}; `voucher-node demo --dir {dir}` goes on from them."),
        None => format!("Their stores were in {dir} and are removed; --dir DIR keeps them."),
    });
}

/// Says where one can go on by hand.
async fn addresses(world: &mut World) -> anyhow::Result<()> {
    let World { federation, story, client, places, .. } = world;
    let desks = federation.dir.join("desks");
    desks::write_tokens(client, &desks, &places.issuer).await?;
    story.chapter("Go on by hand", "the nodes run until Ctrl-C");
    for Institution { id, url, .. } in federation.institutions() {
        story.tell(format!("{id:<18} {url}/   {url}/docs/   {url}/v1/status"));
    }
    let accounts = federation.dir.join("accounts");
    federation.desks.write_accounts(&accounts, &federation.institutions().cloned().collect::<Vec<_>>())?;
    story.tell(format!("The first of these are pages. Who signs in there, and how: {}", accounts.display()));
    if federation.ports_were_taken() {
        story.tell("A port of 7101 to 7106 is in use by another program, so the nodes listen on free ports.");
    }
    let url = |id: &str| federation.institutions().find(|i| i.id == id).map_or("", |i| i.url.as_str());
    story.tell("For the walk through the interface in README:");
    story.tell(format!(
        "ISSUER={} COMMUNITY={} HOSPITAL={} AUDITOR={}",
        url("nanjing-health"),
        url("community-xuanwu"),
        url("hospital-gulou"),
        url("audit-jiangsu")
    ));
    story.tell(format!("DESKS={}", desks.display()));
    story.tell(format!("The files are in {}.", federation.dir.display()));
    Ok(())
}
