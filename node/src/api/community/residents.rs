//! The list of residents: an office's table comes in, and the desk looks people up in it.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use actors::community::Community;
use actors::community::command::{Answer, Command};
use actors::community::people::{self, Form, Sex};
use actors::community::residents::{self, MAX_RESIDENTS, Resident, Taken};
use chrono::NaiveDate;
use domain::ids::ShortName;
use domain::policy::Class;
use domain::reason_texts::{Language, Texts, texts};
use domain::reasons::Reason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{answered, clerk, send};
use crate::api::answer::{self, Nothing, Post, Receipt};
use crate::api::caller::Caller;
use crate::api::document;
use crate::api::json;
use crate::api::looked::{self, Shown};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(list).service(unlist).service(look_up);
}

/// Somebody entitled to vouchers, as the office's table says. Personal data.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResidentRow {
    /// Kind of document, such as `resident-id`.
    #[schema(value_type = String)]
    document_type: ShortName,
    /// Its number, at most 40 bytes.
    document_number: String,
    /// As in the document, at most 120 bytes.
    name: String,
    /// Date of birth, `YYYY-MM-DD`.
    born: NaiveDate,
    /// `F` or `M`, as in the document.
    #[schema(value_type = String)]
    sex: Sex,
    /// Telephone number, at most 32 bytes.
    phone: Option<String>,
    /// `elderly`, `chronic`, `pregnant` or `disabled`.
    #[schema(value_type = String)]
    class: Class,
    /// Whether vouchers can go to a phone; else a card is printed.
    smartphone: bool,
}

impl ResidentRow {
    /// # Errors
    ///
    /// [`Reason::DocumentInvalid`].
    fn resident(self) -> Result<Resident, Reason> {
        let Self { document_type, document_number, name, born, sex, phone, class, smartphone } = self;
        let document_number = document::checked(&document_type, document_number.trim().to_owned(), born);
        let document_number = document_number.map_err(|problem| problem.reason)?;
        let (name, phone) = (name.trim().to_owned(), phone.map(|phone| phone.trim().to_owned()));
        Ok(Resident { form: Form { document_type, document_number, name, born, sex, phone, class }, smartphone })
    }
}

impl From<Resident> for ResidentRow {
    fn from(Resident { form, smartphone }: Resident) -> Self {
        let Form { document_type, document_number, name, born, sex, phone, class } = form;
        Self { document_type, document_number, name, born, sex, phone, class, smartphone }
    }
}

/// Rows of an office's table.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Residents {
    /// At most 200. A row that cannot be read is refused alone.
    #[schema(value_type = Vec<ResidentRow>)]
    residents: Vec<serde_json::Value>,
}

/// What became of one row.
#[derive(Debug, Serialize, ToSchema)]
struct RowAnswer {
    /// Its place in the request, from 1.
    row: usize,
    /// `added`, `known` (word for word on the list already), `updated` (class, telephone number or carrier) or `refused`.
    outcome: &'static str,
    /// If refused, why: `malformed`, `document-invalid`, `resident-differs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    code: Option<Reason>,
    /// If refused: what to tell the holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'static str>,
    /// If refused: what to do at the desk.
    #[serde(skip_serializing_if = "Option::is_none")]
    desk: Option<&'static str>,
}

/// What became of the rows.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ListedRows {
    /// Rows that are new on the list.
    added: usize,
    /// Rows that were on it word for word.
    known: usize,
    /// Rows whose class, telephone number or carrier was replaced.
    updated: usize,
    /// Rows that were not taken.
    refused: usize,
    /// Each row, in order.
    rows: Vec<RowAnswer>,
}

impl ListedRows {
    fn add(&mut self, outcome: Result<Taken, Reason>, language: Language) {
        let (count, outcome, refused) = match outcome {
            Ok(Taken::Added) => (&mut self.added, "added", None),
            Ok(Taken::Known) => (&mut self.known, "known", None),
            Ok(Taken::Updated) => (&mut self.updated, "updated", None),
            Err(reason) => (&mut self.refused, "refused", Some(reason)),
        };
        *count += 1;
        let said: Option<Texts> = refused.map(|reason| texts(reason, language));
        self.rows.push(RowAnswer {
            row: self.rows.len() + 1,
            outcome,
            code: refused,
            holder: said.map(|said| said.holder),
            desk: said.map(|said| said.desk),
        });
    }
}

/// Take residents into the community's list. Each row is judged for itself; nothing of it enters the ledger.
///
/// The desk then confirms by the document alone, and a form that contradicts the list is refused. The same row again is
/// `known`; the same request again (by its key) does nothing. Another name, sex or date of birth under a listed document is refused as
/// `resident-differs`: take the old row off the list first.
///
/// `201` with what became of each row; `413` for more than 200.
#[utoipa::path(tag = "community", request_body = Residents, responses(
    (status = 201, body = Receipt<ListedRows>), (status = 400, body = ProblemBody), (status = 413, body = ProblemBody),
))]
#[post("/v1/community/residents")]
async fn list(node: Data<Node>, mut post: Post<Residents>) -> Result<HttpResponse, Problem> {
    let rows = std::mem::take(&mut post.body.residents);
    answered(&node, &post, async {
        clerk(&node, &post)?;
        if rows.len() > MAX_RESIDENTS {
            return Err(Problem::new(Reason::TooLarge).detail(format!("at most {MAX_RESIDENTS} residents")));
        }
        if let Some(again) = answer::repeated::<_, ListedRows>(&node, &post).await? {
            return Ok(again);
        }
        let read = |row| json::of(row).map_err(|_| Reason::Malformed).and_then(ResidentRow::resident);
        let read: Vec<Result<Resident, Reason>> = rows.into_iter().map(read).collect();
        let residents = read.iter().filter_map(|row| row.as_ref().ok().cloned()).collect();
        let done = send(&node, &post, Command::List { secret: rand::random(), residents }).await?;
        let Answer::Listed(taken) = done.answer else { return Err(Reason::Internal.into()) };
        let mut taken = taken.into_iter();
        let mut listed = ListedRows::default();
        for row in read {
            let outcome = row.and_then(|_| taken.next().unwrap_or(Err(Reason::Internal)));
            listed.add(outcome, post.language);
        }
        Ok(answer::created(&node, &done.records, Some(listed)))
    })
    .await
}

/// Which document.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhoseDocument {
    /// Kind of document, such as `resident-id`.
    #[schema(value_type = String)]
    pub document_type: ShortName,
    /// Its number.
    pub document_number: String,
}

/// Whom of the list a clerk wants to see.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Kind of document, such as `resident-id`.
    #[schema(value_type = String)]
    document_type: ShortName,
    /// Its number.
    document_number: String,
    /// The whole row, not a masked one. That is put on record, like every look.
    #[serde(default)]
    whole: bool,
}

/// A row of the list as a desk sees it unless it asks for the whole: enough to compare with the document in hand.
#[derive(Serialize, ToSchema)]
pub struct MaskedRow {
    /// Kind of document.
    #[schema(value_type = String)]
    pub document_type: ShortName,
    /// Its last four characters.
    pub document_number: String,
    /// The first character of each word.
    pub name: String,
    /// Year of birth.
    pub born: i32,
    /// The last two characters.
    pub phone: Option<String>,
    /// `elderly`, `chronic`, `pregnant` or `disabled`.
    #[schema(value_type = String)]
    pub class: Class,
    /// Whether vouchers can go to a phone.
    pub smartphone: bool,
}

impl From<Resident> for MaskedRow {
    fn from(Resident { form, smartphone }: Resident) -> Self {
        Self {
            document_type: form.document_type,
            document_number: people::ending(&form.document_number, 4),
            name: people::mask(&form.name),
            born: chrono::Datelike::year(&form.born),
            phone: form.phone.map(|phone| people::ending(&phone, 2)),
            class: form.class,
            smartphone,
        }
    }
}

/// Take somebody off the list. Who is registered stays registered.
///
/// `201`; `404` `resident-unknown`.
#[utoipa::path(tag = "community", request_body = WhoseDocument, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody),
))]
#[post("/v1/community/residents/removals")]
async fn unlist(node: Data<Node>, post: Post<WhoseDocument>) -> Result<HttpResponse, Problem> {
    answered(&node, &post, async {
        clerk(&node, &post)?;
        if let Some(again) = answer::repeated::<_, Nothing>(&node, &post).await? {
            return Ok(again);
        }
        let WhoseDocument { document_type, document_number } = &post.body;
        let (document_type, document_number) = (document_type.clone(), document_number.clone());
        let done = send(&node, &post, Command::Unlist { document_type, document_number }).await?;
        Ok(answer::created(&node, &done.records, Some(Nothing {})))
    })
    .await
}

/// What the list says of the person whose document the clerk holds, masked unless the whole is asked for. Nothing is written
/// to the ledger; the look goes into the node's log as target `access`.
///
/// A POST, so that no address carries the number of a document. `200`; `404` `resident-unknown`.
#[utoipa::path(tag = "community", request_body = Wanted, responses(
    (status = 200, body = MaskedRow), (status = 404, body = ProblemBody),
))]
#[post("/v1/community/desk/resident")]
async fn look_up(node: Data<Node>, post: Post<Wanted>) -> Result<HttpResponse, Problem> {
    answered(&node, &post, async {
        let Wanted { document_type, document_number, whole } = &post.body;
        let found = listed_as(&node, &post.caller, document_type, document_number, *whole).await?;
        let mut answer = HttpResponse::Ok();
        Ok(if *whole { answer.json(ResidentRow::from(found)) } else { answer.json(MaskedRow::from(found)) })
    })
    .await
}

/// Whom the list has under a document, for REST and pages. The look is on record, as one at the whole row or at a masked one:
/// which of them is shown is the caller's to keep.
///
/// # Errors
///
/// [`Reason::ResidentUnknown`].
pub async fn listed_as(
    node: &Node,
    caller: &Caller,
    document_type: &ShortName,
    document_number: &str,
    whole: bool,
) -> Result<Resident, Problem> {
    node.role::<Community>()?;
    let operator = caller.must_be_operator()?;
    let found = answer::read(node, |work| residents::listed(&work.tx, document_type, document_number)).await;
    looked::note(operator, "resident", None, if whole { Shown::Whole } else { Shown::Masked }, found.is_some());
    found.ok_or_else(|| Reason::ResidentUnknown.into())
}
