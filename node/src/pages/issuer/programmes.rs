//! `/issuer/programmes`: what is offered, to whom, for how long, where; published and changed.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::ids::ShortName;
use domain::member::Role;
use domain::policy::{Class, Policy};
use domain::reasons::Reason;
use serde::Deserialize;

use super::{Done, Nav, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::Get;
use crate::api::caller::Caller;
use crate::api::issuer::programmes::{changed, published};
use crate::api::problem::Problem;
use crate::api::system::programmes_of;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::problem::Notice;
use crate::pages::words::{self, Known};

pages! {
    GET "/issuer/programmes", Operator(P::ManageProgrammes), Some(Role::Issuer), Some("issuer-programmes") => list;
    POST "/issuer/programmes", Operator(P::ManageProgrammes), Some(Role::Issuer), None => publish;
    GET "/issuer/programmes/new", Operator(P::ManageProgrammes), Some(Role::Issuer), None => new_form;
    GET "/issuer/programmes/{short}/changes", Operator(P::ManageProgrammes), Some(Role::Issuer), None => change_form;
    POST "/issuer/programmes/{short}/changes", Operator(P::ManageProgrammes), Some(Role::Issuer), None => change;
}

/// A programme as the page shows it.
struct Shown {
    short: String,
    title: String,
    classes: String,
    validity_days: u16,
    vouchers_per_holder: u16,
    departments: String,
    department: String,
    card_allowed: bool,
    issuer: String,
    is_own: bool,
}

/// The programmes.
#[derive(Template)]
#[template(path = "issuer/programmes.html")]
struct Programmes {
    frame: Frame,
    nav: Nav,
    known: Known,
    done: bool,
    programmes: Vec<Shown>,
}

async fn list(node: Data<Node>, request: HttpRequest, done: Query<Done>, get: Get) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(&node, &request, &get.caller);
    let shown = |view: crate::api::system::ProgrammeView| {
        let (issuer, policy) = (view.name.institution, view.policy);
        Shown {
            classes: names(policy.classes.iter().map(|class| words::word(&frame, "class", class))),
            departments: names(policy.departments.iter().map(ToString::to_string)),
            title: if frame.is_in("en") { policy.title_en } else { policy.title_zh },
            short: policy.programme.to_string(),
            validity_days: policy.validity_days,
            vouchers_per_holder: policy.vouchers_per_holder,
            department: policy.issuing_department,
            card_allowed: policy.card_allowed,
            is_own: issuer == node.config.institution,
            issuer: issuer.to_string(),
        }
    };
    let programmes = programmes_of(&node).await.into_iter().map(shown).collect();
    show(&Programmes { known: words::known(&node).await, done: done.is_done(), programmes, nav, frame })
}

fn names(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join(" · ")
}

/// A policy as the form has it.
#[derive(Debug, Clone, Default, Deserialize)]
struct PolicyForm {
    programme: String,
    title_zh: String,
    title_en: String,
    service: String,
    issuing_department: String,
    elderly: Option<String>,
    chronic: Option<String>,
    pregnant: Option<String>,
    disabled: Option<String>,
    validity_days: String,
    vouchers_per_holder: String,
    departments: String,
    card_allowed: Option<String>,
}

impl PolicyForm {
    fn of(policy: &Policy) -> Self {
        let has = |class| policy.classes.contains(&class).then(|| "yes".to_owned());
        Self {
            programme: policy.programme.to_string(),
            title_zh: policy.title_zh.clone(),
            title_en: policy.title_en.clone(),
            service: policy.service.to_string(),
            issuing_department: policy.issuing_department.clone(),
            elderly: has(Class::Elderly),
            chronic: has(Class::Chronic),
            pregnant: has(Class::Pregnant),
            disabled: has(Class::Disabled),
            validity_days: policy.validity_days.to_string(),
            vouchers_per_holder: policy.vouchers_per_holder.to_string(),
            departments: policy.departments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            card_allowed: policy.card_allowed.then(|| "yes".to_owned()),
        }
    }

    fn classes(&self) -> [(Class, bool); 4] {
        let chosen = [&self.elderly, &self.chronic, &self.pregnant, &self.disabled].map(Option::is_some);
        let [elderly, chronic, pregnant, disabled] = Class::ALL;
        [(elderly, chosen[0]), (chronic, chosen[1]), (pregnant, chosen[2]), (disabled, chosen[3])]
    }

    /// The policy, as REST takes it.
    fn read(self) -> Result<Policy, Problem> {
        let short = |what: &str, text: &str| -> Result<ShortName, Problem> {
            text.trim().parse().map_err(|error| Problem::malformed(format!("{what}: {error}")))
        };
        let number = |what: &str, text: &str| -> Result<u16, Problem> {
            text.trim().parse().map_err(|error| Problem::malformed(format!("{what}: {error}")))
        };
        let departments = self.departments.split([',', '，', '、', ' ']).filter(|name| !name.is_empty());
        Ok(Policy {
            programme: short("programme", &self.programme)?,
            service: short("service", &self.service)?,
            classes: self.classes().into_iter().filter(|(_, chosen)| *chosen).map(|(class, _)| class).collect(),
            validity_days: number("validity_days", &self.validity_days)?,
            vouchers_per_holder: number("vouchers_per_holder", &self.vouchers_per_holder)?,
            departments: departments.map(|name| short("departments", name)).collect::<Result<_, _>>()?,
            card_allowed: self.card_allowed.is_some(),
            title_zh: self.title_zh,
            title_en: self.title_en,
            issuing_department: self.issuing_department,
        })
    }
}

/// The form for a policy.
#[derive(Template)]
#[template(path = "issuer/programme.html")]
struct PolicyPage {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    form: PolicyForm,
    classes: Vec<(String, String, bool)>,
    /// The programme that is changed; none for a new one.
    changes: Option<String>,
}

fn form_page(
    node: &Data<Node>,
    request: &HttpRequest,
    caller: &Caller,
    (form, changes): (PolicyForm, Option<String>),
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(node, request, caller);
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let notice = refused.map(|problem| Notice::of(&problem, &frame));
    let class = |(class, chosen)| (words::code(&class), words::word(&frame, "class", &class), chosen);
    let classes = form.classes().map(class).to_vec();
    show_as(&PolicyPage { notice, form, classes, changes, nav, frame }, status)
}

async fn new_form(node: Data<Node>, request: HttpRequest, get: Get) -> Result<HttpResponse, Problem> {
    let form = PolicyForm { card_allowed: Some("yes".to_owned()), ..PolicyForm::default() };
    form_page(&node, &request, &get.caller, (form, None), None)
}

async fn change_form(
    node: Data<Node>,
    request: HttpRequest,
    short: Path<String>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let mut all = programmes_of(&node).await.into_iter();
    let is_it = |view: &crate::api::system::ProgrammeView| {
        view.name.institution == node.config.institution && view.policy.programme.as_str() == *short
    };
    let found = all.find(is_it).ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))?;
    form_page(&node, &request, &get.caller, (PolicyForm::of(&found.policy), Some(short.into_inner())), None)
}

async fn publish(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<PolicyForm>,
) -> Result<HttpResponse, Problem> {
    let (caller, typed) = (post.caller.clone(), post.body.clone());
    let came = async { published(&node, post.in_words(PolicyForm::read)?).await };
    match came.await {
        Ok(_) => Ok(see_other("/issuer/programmes?done=1").finish()),
        Err(problem) => form_page(&node, &request, &caller, (typed, None), Some(problem)),
    }
}

async fn change(
    node: Data<Node>,
    request: HttpRequest,
    short: Path<String>,
    Form(post): Form<PolicyForm>,
) -> Result<HttpResponse, Problem> {
    let (caller, typed) = (post.caller.clone(), post.body.clone());
    let came = async { changed(&node, &short, post.in_words(PolicyForm::read)?).await };
    match came.await {
        Ok(_) => Ok(see_other("/issuer/programmes?done=1").finish()),
        Err(problem) => form_page(&node, &request, &caller, (typed, Some(short.clone())), Some(problem)),
    }
}
