//! `/problems`: every reason why something may be refused, as a page. The `type` of a problem leads to its place here.

use std::fmt::Write as _;

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, get};
use domain::reason_texts::{Language, texts};
use domain::reasons::Reason;
use utoipa_actix_web::service_config::ServiceConfig;

/// Registers the route.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(problems);
}

/// The closed list of reasons, each with its code, its status and its texts in both languages.
#[utoipa::path(tag = "node", responses((status = 200, description = "HTML", body = String, content_type = "text/html")))]
#[get("/problems")]
async fn problems() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::html()).body(page())
}

fn page() -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Problems</title>\n\
         <style>body{max-width:50em;margin:2em auto;font-family:sans-serif}section:target{background:#ffd}</style></head>\n\
         <body><h1>Problems</h1>\n<p>Why a request may be refused. The list is closed and the codes are stable.</p>\n",
    );
    for reason in Reason::ALL {
        let (code, status) = (reason.code(), reason.kind().status());
        // Writing into memory cannot fail.
        let _ = writeln!(page, "<section id=\"{code}\"><h2><code>{code}</code> {status}</h2><dl>");
        for (lang, language) in [("zh-CN", Language::Zh), ("en", Language::En)] {
            let said = texts(*reason, language);
            for (who, text) in [("holder", said.holder), ("desk", said.desk)] {
                let _ = writeln!(page, "<dt>{who}</dt><dd lang=\"{lang}\">{}</dd>", escaped(text));
            }
        }
        page.push_str("</dl></section>\n");
    }
    page.push_str("</body></html>\n");
    page
}

/// Plain text, as text of a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_with_all_four_texts() {
        let page = page();
        for reason in Reason::ALL {
            let place = page.split(&format!("<section id=\"{reason}\">")).nth(1).unwrap();
            let place = place.split("</section>").next().unwrap();
            assert!(place.contains(&reason.kind().status().to_string()), "{reason}");
            for language in [Language::Zh, Language::En] {
                let said = texts(*reason, language);
                for text in [said.holder, said.desk] {
                    assert!(place.contains(&escaped(text)), "{reason}: {text}");
                }
            }
        }
    }
}
