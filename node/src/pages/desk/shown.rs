//! Times, titles and reasons as a desk reads them, and how old the node's knowledge is.

use std::collections::BTreeMap;

use chrono::{Datelike as _, FixedOffset};
use domain::ids::ShortName;
use domain::lifecycle::Stage;
use domain::reason_texts::{Language, Texts, texts};
use domain::time::Timestamp;

use crate::api::answer;
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages::frame::Frame;
use crate::pages::text;

/// Times of the federation's zone in words.
#[derive(Debug, Clone, Copy)]
pub struct When {
    offset: FixedOffset,
    language: Language,
}

impl When {
    /// For the page of a frame.
    #[must_use]
    pub fn new(node: &Node, frame: &Frame) -> Self {
        Self { offset: node.writer.settings().offset, language: frame.language }
    }

    fn format(&self, at: Timestamp, zh: &str, en: &str) -> String {
        let format = match self.language {
            Language::Zh => zh,
            Language::En => en,
        };
        at.to_utc().with_timezone(&self.offset).format(format).to_string()
    }

    /// The day.
    #[must_use]
    pub fn day(&self, at: Timestamp) -> String {
        self.format(at, "%Y年%-m月%-d日", "%-d %b %Y")
    }

    /// A day of the calendar, with its day of the week.
    #[must_use]
    pub fn date(&self, day: chrono::NaiveDate) -> String {
        match self.language {
            Language::Zh => {
                let names = ["一", "二", "三", "四", "五", "六", "日"];
                let name = names.get(day.weekday().num_days_from_monday() as usize).copied().unwrap_or_default();
                format!("{}（星期{name}）", day.format("%Y年%-m月%-d日"))
            }
            Language::En => day.format("%A, %-d %B %Y").to_string(),
        }
    }

    /// Day and minute.
    #[must_use]
    pub fn moment(&self, at: Timestamp) -> String {
        self.format(at, "%-m月%-d日 %H:%M", "%-d %b, %H:%M")
    }

    /// The minute of the day.
    #[must_use]
    pub fn time(&self, at: Timestamp) -> String {
        self.format(at, "%H:%M", "%H:%M")
    }

    /// As a field for date and time has it, to the second.
    #[must_use]
    pub fn field(&self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S")
    }

    /// What such a field says: seconds may be missing.
    ///
    /// # Errors
    ///
    /// `malformed`.
    pub fn read(&self, field: &str) -> Result<Timestamp, Problem> {
        let formats = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"];
        let read = formats.iter().find_map(|format| chrono::NaiveDateTime::parse_from_str(field, format).ok());
        let local = read.and_then(|at| at.and_local_timezone(self.offset).single());
        local
            .map(|at| at.to_utc().into())
            .ok_or_else(|| Problem::malformed(format_args!("{field} is no date and time")))
    }
}

/// The programmes' titles in the language of a page, by short name.
pub async fn titles(node: &Node, frame: &Frame) -> BTreeMap<ShortName, String> {
    let title = |policy: &domain::policy::Policy| match frame.language {
        Language::Zh => policy.title_zh.clone(),
        Language::En => policy.title_en.clone(),
    };
    let programmes = answer::read(node, |work| work.programmes()).await;
    let policies = programmes.iter().filter_map(domain::policy::Programme::newest);
    policies.map(|policy| (policy.programme.clone(), title(policy))).collect()
}

/// A title by its short name; the short name of a programme that is not known here.
#[must_use]
pub fn title(titles: &BTreeMap<ShortName, String>, programme: &ShortName) -> String {
    titles.get(programme).cloned().unwrap_or_else(|| programme.to_string())
}

/// Where a voucher stands, in a plain word.
#[must_use]
pub fn stage(frame: &Frame, stage: Stage) -> String {
    frame.t(&format!("stage-{}", word(&stage)))
}

/// A word of a list as JSON spells it.
#[must_use]
pub fn word(of: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(of).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// A big yes or no: what it is, why, and what to do.
#[derive(Debug)]
pub struct Verdict {
    /// Green.
    pub is_good: bool,
    /// The answer in a few words.
    pub headline: String,
    /// Why, and what to do at the desk.
    pub desk: String,
    /// What to tell the holder.
    pub holder: Option<String>,
    /// What exactly, for who looks after the node.
    pub detail: Option<String>,
    /// The reason's code, on a no.
    pub code: Option<&'static str>,
}

impl Verdict {
    /// A no, for a reason.
    #[must_use]
    pub fn no(frame: &Frame, headline: &str, problem: &Problem) -> Self {
        let Texts { holder, desk } = texts(problem.reason, frame.language);
        Self {
            is_good: false,
            headline: frame.t(headline),
            desk: desk.to_owned(),
            holder: Some(holder.to_owned()),
            detail: problem.detail.clone(),
            code: Some(problem.reason.code()),
        }
    }

    /// A yes.
    #[must_use]
    pub fn yes(headline: String, desk: String) -> Self {
        Self { is_good: true, headline, desk, holder: None, detail: None, code: None }
    }
}

/// How old the node's knowledge is.
#[derive(Debug)]
pub struct Knowledge {
    /// The node's time, when it made the page.
    pub as_of: String,
    /// A sentence for each institution whose node cannot be reached.
    pub silent: Vec<String>,
}

impl Knowledge {
    /// As it is now.
    pub async fn now(node: &Node, frame: &Frame) -> Self {
        let when = When::new(node, frame);
        let silent = node.silent();
        let known = answer::read(node, |work| {
            silent.iter().map(|(id, since)| (*id, *since, work.cursor(*id).last_at)).collect::<Vec<_>>()
        })
        .await;
        let sentence = |(id, since, last_at): (domain::ids::InstitutionId, Timestamp, Timestamp)| {
            let (since, last) = (when.moment(since), when.moment(last_at));
            let id = id.to_string();
            text::text(frame.language, "knowledge-silent", &[("institution", &id), ("since", &since), ("last", &last)])
        };
        Self { as_of: when.moment(node.writer.now()), silent: known.into_iter().map(sentence).collect() }
    }
}
