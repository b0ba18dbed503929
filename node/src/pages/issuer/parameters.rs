//! `/issuer/parameters`: the numbers by which the whole federation goes, changed by two persons where the registrar runs.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::member::{Parameters, Role};
use domain::time::Millis;

use super::{Done, Nav, after, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get};
use crate::api::caller::Caller;
use crate::api::issuer::members;
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::show_as;
use crate::pages::desk::fields::Fields;
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::problem::Notice;

pages! {
    GET "/issuer/parameters", Operator(P::SetParameters), Some(Role::Issuer), Some("issuer-parameters") => show;
    POST "/issuer/parameters", Operator(P::SetParameters), Some(Role::Issuer), None => change;
}

/// A period of the parameters.
type Field = fn(&mut Parameters) -> &mut Millis;

/// The periods as the form names them, with the field that each is.
const PERIODS: [(&str, Field); 5] = [
    ("grace-before-use", |numbers| &mut numbers.grace_before_use),
    ("grace-after-use", |numbers| &mut numbers.grace_after_use),
    ("complete-within", |numbers| &mut numbers.complete_within),
    ("claim-within", |numbers| &mut numbers.claim_within),
    ("correction-period", |numbers| &mut numbers.correction_period),
];

/// A period in the form.
struct Period {
    name: &'static str,
    label: String,
    days: String,
}

#[derive(Template)]
#[template(path = "issuer/parameters.html")]
struct ParametersPage {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    done: bool,
    periods: Vec<Period>,
    format_level: String,
}

/// The numbers that a form names: days, which may be parts of one.
fn read(fields: &Fields) -> Result<Parameters, Problem> {
    let mut numbers = Parameters::default();
    for (name, field) in PERIODS {
        let period = days(fields.needed(name)?);
        *field(&mut numbers) = period.ok_or_else(|| Problem::malformed(format_args!("{name}: days")))?;
    }
    numbers.format_level = fields.needed("format-level")?.parse().map_err(Problem::malformed)?;
    Ok(numbers)
}

/// Milliseconds of so many days, if that is what the text says.
fn days(text: &str) -> Option<Millis> {
    let days: f64 = text.trim().parse().ok()?;
    let millis = (days * Millis::days(1).0 as f64).round();
    // Beyond a century nothing is meant, and far below that a number of this kind is exact to the millisecond.
    (0.0..=36_500.0).contains(&days).then_some(Millis(millis as i64))
}

async fn page(
    node: &Data<Node>,
    request: &HttpRequest,
    caller: &Caller,
    typed: Option<Fields>,
    (done, refused): (bool, Option<Problem>),
) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(node, request, caller);
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let mut now = answer::read(node, |work| work.registry.parameters_at(u64::MAX)).await;
    let typed_or = |name: &str, now: String| match &typed {
        Some(fields) => fields.text(name).unwrap_or_default().to_owned(),
        None => now,
    };
    let periods = PERIODS.iter().map(|(name, field)| Period {
        name,
        label: frame.t(&format!("parameter-{name}")),
        days: typed_or(name, (field(&mut now).0 as f64 / Millis::days(1).0 as f64).to_string()),
    });
    let page = ParametersPage {
        periods: periods.collect(),
        format_level: typed_or("format-level", now.format_level.to_string()),
        notice: refused.map(|problem| Notice::of(&problem, &frame)),
        done,
        nav,
        frame,
    };
    show_as(&page, status)
}

async fn show(node: Data<Node>, request: HttpRequest, done: Query<Done>, get: Get) -> Result<HttpResponse, Problem> {
    page(&node, &request, &get.caller, None, (done.is_done(), None)).await
}

async fn change(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let answer::Post { caller, idempotency, body: fields, language } = post;
    let came = async {
        let post = answer::Post { caller: caller.clone(), idempotency, body: read(&fields)?, language };
        members::numbered(&node, "/v1/issuer/parameters", post).await
    };
    match came.await {
        Ok(came) => Ok(after(&came, "/issuer/parameters?done=1")),
        Err(problem) => page(&node, &request, &caller, Some(fields), (false, Some(problem))).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_or_parts_and_come_back_as_they_were() {
        for (text, expected) in [
            ("1", Some(Millis::days(1))),
            (" 0.5 ", Some(Millis::hours(12))),
            ("36500", Some(Millis::days(36_500))),
            ("36501", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(days(text), expected, "{text}");
        }
        for millis in [1, 1_000, 3_600_000, 86_399_999, 7_776_000_001] {
            let shown = (millis as f64 / Millis::days(1).0 as f64).to_string();
            assert_eq!(days(&shown), Some(Millis(millis)), "{shown}");
        }
    }
}
