//! The status page: HTML, styles and scripts that the daemon carries and serves as they are, to anybody; whatever they show
//! comes from the API, with the token of whoever looks. They sit where no endpoint is.

use axum::{
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal $kind:ident $file:literal,)+) => {
        /// Path, media type and octets of each file.
        const ASSETS: &[(&str, &str, &[u8])] = &[$(($path, $kind, include_bytes!(concat!("assets/", $file))),)+];
    };
}

assets! {
    "/" HTML "index.html",
    "/page/style.css" STYLE "style.css",
    "/page/main.js" SCRIPT "main.js",
    "/page/client.js" SCRIPT "client.js",
    "/page/dom.js" SCRIPT "dom.js",
    "/page/session.js" SCRIPT "session.js",
    "/page/rates.js" SCRIPT "rates.js",
    "/page/pools.js" SCRIPT "pools.js",
    "/page/sites.js" SCRIPT "sites.js",
    "/page/leases.js" SCRIPT "leases.js",
    "/page/events.js" SCRIPT "events.js",
    "/page/icon.svg" SVG "icon.svg",
    "/page/vendor/uplot.js" SCRIPT "vendor/uplot.js",
    "/page/vendor/uplot.css" STYLE "vendor/uplot.css",
    "/page/vendor/uplot.LICENSE" TEXT "vendor/uplot.LICENSE",
}

/// Serves a file of the page, or says that nothing is there.
pub async fn serve(method: Method, uri: Uri) -> Response {
    let Some((_, kind, octets)) = ASSETS.iter().find(|(path, ..)| *path == uri.path()) else {
        return Problem::not_found("nothing is here; see / and /api/v1/openapi.json").into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the page can only be read");
        return ([(header::ALLOW, "GET, HEAD")], problem).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, *octets).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of an asset.
    fn asset(path: &str) -> &'static str {
        let (.., octets) = ASSETS.iter().find(|(found, ..)| *found == path).unwrap();
        std::str::from_utf8(octets).unwrap()
    }

    #[test]
    fn the_page_asks_for_nothing_that_is_not_there_and_for_nothing_from_elsewhere() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/page/assets");
        let page = asset("/");
        for attribute in ["src=\"", "href=\""] {
            for after in page.split(attribute).skip(1) {
                let to = after.split('"').next().unwrap();
                assert!(to.starts_with('#') || ASSETS.iter().any(|(path, ..)| *path == to), "{to}");
            }
        }
        let mut scripts = 0;
        for file in std::fs::read_dir(&folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".js") {
                continue;
            }
            scripts += 1;
            let text = asset(&format!("/page/{name}"));
            for after in text.split("from \"./").skip(1) {
                let to = after.split('"').next().unwrap();
                assert!(folder.join(to).is_file(), "{name} imports {to}");
            }
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name} makes code of text");
        }
        assert!(scripts >= 8);
        // What the policy forbids would fail silently.
        assert!(!page.contains(" style=") && !page.contains(" onclick=") && !page.contains("<style"));
    }
}
