//! What is to be sent: the good rows of a table, for the institution at the other end, in requests of bounded size.

use std::collections::BTreeSet;

use actors::hospital::schedule::MAX_HOURS;
use anyhow::{Context as _, bail, ensure};
use chrono::{FixedOffset, NaiveDate};
use domain::ids::{InstitutionId, ShortName};
use domain::member::Role;
use domain::policy::Policy;
use serde::Deserialize;
use serde_json::{Value, json};
use voucher_node::api::document::RESIDENT_ID;
use voucher_node::api::hospital::schedules::MAX_SCHEDULE_BYTES;
use voucher_node::import::{self as tables, CardPresentation, Programme, Report, Resident, WeeklyHours};

use super::super::node::{Node, Status};
use super::{ImportArgs, Table};

/// Residents in one request: well below the longest body that a node reads.
pub(super) const RESIDENTS_AT_ONCE: usize = 200;

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    /// Its part of the idempotency key: what it is within the file.
    pub name: String,
    /// What it is, for people.
    pub what: String,
    /// Lines of the file that it carries, in order; empty where the node judges it as a whole.
    pub lines: Vec<u32>,
    /// How many rows it carries.
    pub rows: usize,
    /// The body.
    pub body: Value,
}

/// What is to be sent, and what is not.
#[derive(Debug)]
pub(super) struct Plan {
    /// To whom.
    pub institution: InstitutionId,
    /// The path of every request.
    pub path: &'static str,
    /// In order.
    pub requests: Vec<Request>,
    /// Good rows for other institutions.
    pub elsewhere: usize,
    /// What is not sent although it is good, and why.
    pub left: Vec<String>,
    /// Whether some of that is for the operator to settle.
    unsettled: bool,
    /// The reader's report without rows, for machines.
    pub report: Value,
    /// The same for people.
    pub faults_text: String,
    faults: usize,
}

impl Plan {
    /// Reads the table and asks the node what it is and has.
    pub(super) fn make(args: &ImportArgs, file: &[u8], node: &Node) -> anyhow::Result<Self> {
        let status = node.status()?;
        match args.table {
            Table::Residents => residents(&status, &communities(node)?, today(args, &status)?, file),
            Table::Schedule => schedule(&status, file),
            Table::Programmes => programmes(&status, &published(node)?, file),
        }
    }

    /// Rows in all requests.
    pub(super) fn rows(&self) -> usize {
        self.requests.iter().map(|request| request.rows).sum()
    }

    /// Whether every row of the file is good and either sent or rightly left.
    pub(super) const fn is_clean(&self) -> bool {
        self.faults == 0 && !self.unsettled
    }

    fn of<T>(status: &Status, role: Role, path: &'static str, report: &Report<T>) -> anyhow::Result<Self> {
        let institution = status.institution;
        ensure!(
            status.roles.contains(&role),
            "{institution} is no {}; give the --url of the node that this table is for",
            role.as_str()
        );
        Ok(Self {
            institution,
            path,
            requests: Vec::new(),
            elsewhere: 0,
            left: Vec::new(),
            unsettled: false,
            report: serde_json::to_value(report.summary())?,
            faults_text: report.to_string(),
            faults: report.faults.len().saturating_add(report.unlisted),
        })
    }
}

/// The day at the office, by the node's clock: in the demo it is ahead.
fn today(args: &ImportArgs, status: &Status) -> anyhow::Result<NaiveDate> {
    let seconds = args.utc_offset_minutes.checked_mul(60);
    let offset = seconds.and_then(FixedOffset::east_opt).context("--utc-offset-minutes: less than a day")?;
    Ok(status.time.day_at(offset))
}

#[derive(Deserialize)]
struct Listed<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Member {
    institution: InstitutionId,
    roles: Vec<Role>,
}

fn communities(node: &Node) -> anyhow::Result<BTreeSet<String>> {
    let members: Listed<Member> = node.get("/v1/members")?;
    let communities = members.items.into_iter().filter(|member| member.roles.contains(&Role::Community));
    Ok(communities.map(|member| member.institution.to_string()).collect())
}

#[derive(Deserialize)]
struct Published {
    name: PublishedName,
    policy: Policy,
}

#[derive(Deserialize)]
struct PublishedName {
    institution: InstitutionId,
}

fn published(node: &Node) -> anyhow::Result<Vec<(InstitutionId, Policy)>> {
    let programmes: Listed<Published> = node.get("/v1/programmes")?;
    Ok(programmes.items.into_iter().map(|p| (p.name.institution, p.policy)).collect())
}

fn residents(status: &Status, communities: &BTreeSet<String>, today: NaiveDate, file: &[u8]) -> anyhow::Result<Plan> {
    let report = tables::residents(file, communities, today)?;
    let mut plan = Plan::of(status, Role::Community, "/v1/community/residents", &report)?;
    let (mine, others): (Vec<&Resident>, Vec<_>) =
        report.good.iter().partition(|resident| resident.community == status.institution.as_str());
    plan.elsewhere = others.len();
    for (number, chunk) in (1..).zip(mine.chunks(RESIDENTS_AT_ONCE)) {
        let rows: Vec<Value> = chunk.iter().map(|resident| of_resident(resident)).collect();
        let lines =
            chunk.first().zip(chunk.last()).map(|(first, last)| format!("lines {} to {}", first.line, last.line));
        plan.requests.push(Request {
            name: number.to_string(),
            what: format!("{} residents, {}", chunk.len(), lines.unwrap_or_default()),
            lines: chunk.iter().map(|resident| resident.line).collect(),
            rows: chunk.len(),
            body: json!({ "residents": rows }),
        });
    }
    Ok(plan)
}

fn of_resident(resident: &Resident) -> Value {
    json!({
        "document_type": RESIDENT_ID,
        "document_number": resident.document.as_str(),
        "name": resident.name,
        "born": resident.born,
        "sex": resident.sex,
        "phone": resident.phone,
        "class": resident.class,
        "smartphone": resident.smartphone,
    })
}

fn schedule(status: &Status, file: &[u8]) -> anyhow::Result<Plan> {
    let report = tables::schedule(file)?;
    let mut plan = Plan::of(status, Role::Hospital, "/v1/hospital/schedules", &report)?;
    let (mine, others): (Vec<&WeeklyHours>, Vec<_>) =
        report.good.iter().partition(|hours| hours.hospital == status.institution.as_str());
    plan.elsewhere = others.len();
    if mine.is_empty() {
        return Ok(plan);
    }
    if plan.faults > 0 {
        // The hours sent replace all others: a row that is left out would close its hours.
        plan.left.push("hours replace what the hospital had, so nothing is sent while rows have faults".to_owned());
        return Ok(plan);
    }
    let rows: Vec<Value> = mine.iter().map(|hours| of_hours(hours)).collect();
    let bytes = serde_json::to_vec(&json!({ "hours": rows }))?.len();
    if rows.len() > MAX_HOURS || bytes > MAX_SCHEDULE_BYTES {
        // They cannot go in parts: each would replace the one before.
        plan.left.push(format!(
            "{} weekly hours, {bytes} bytes as they are sent: a hospital has at most {MAX_HOURS}, in {MAX_SCHEDULE_BYTES} bytes",
            rows.len()
        ));
        plan.unsettled = true;
        return Ok(plan);
    }
    plan.requests.push(Request {
        name: "1".to_owned(),
        what: format!("{} weekly hours", rows.len()),
        lines: Vec::new(),
        rows: rows.len(),
        body: json!({ "hours": rows }),
    });
    Ok(plan)
}

fn of_hours(hours: &WeeklyHours) -> Value {
    json!({
        "department": hours.department,
        "department_name": hours.department_name,
        "doctor": hours.doctor,
        "doctor_name": hours.doctor_name,
        "weekday": hours.weekday,
        "start": hours.start.format("%H:%M").to_string(),
        "end": hours.end.format("%H:%M").to_string(),
        "slot_minutes": hours.slot_minutes,
        "capacity": hours.capacity,
    })
}

fn programmes(status: &Status, published: &[(InstitutionId, Policy)], file: &[u8]) -> anyhow::Result<Plan> {
    let report = tables::programmes(file)?;
    let mut plan = Plan::of(status, Role::Issuer, "/v1/issuer/programmes", &report)?;
    for programme in &report.good {
        let name = &programme.programme;
        let policy = match of_programme(programme) {
            Ok(policy) => policy,
            Err(error) => {
                plan.left.push(format!("{name} cannot be sent: {error:#}"));
                plan.unsettled = true;
                continue;
            }
        };
        let there =
            published.iter().find(|(issuer, old)| *issuer == status.institution && old.programme == policy.programme);
        match there {
            Some((_, old)) if *old == policy => plan.left.push(format!("{name} is published already, as it is here")),
            Some(_) => {
                plan.left.push(format!(
                    "{name} is published with another policy; a change is POST /v1/issuer/programmes/{name}/changes"
                ));
                plan.unsettled = true;
            }
            None => plan.requests.push(Request {
                name: name.clone(),
                what: format!("programme {name}"),
                lines: Vec::new(),
                rows: 1,
                body: serde_json::to_value(&policy)?,
            }),
        }
    }
    Ok(plan)
}

fn of_programme(programme: &Programme) -> anyhow::Result<Policy> {
    let departments: Result<Vec<ShortName>, _> = programme.departments.iter().map(|name| name.parse()).collect();
    let policy = Policy {
        programme: programme.programme.parse()?,
        title_zh: programme.title_zh.clone(),
        title_en: programme.title_en.clone(),
        service: programme.service.parse()?,
        issuing_department: programme.issuing_department.clone(),
        classes: programme.classes.clone(),
        validity_days: programme.validity_days,
        vouchers_per_holder: programme.vouchers_per_holder,
        departments: departments?,
        card_allowed: programme.card == CardPresentation::Allowed,
    };
    if let Err(error) = policy.check_new() {
        bail!("{error}");
    }
    Ok(policy)
}
