//! The QR code of the listening link, for a guest's phone or a poster.
//!
//! **Invariant**: it is made for everybody who asks, of what they send, within [`MAX_TEXT`]; nothing is kept or logged.

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use super::{SVG, TEXT};

/// The longest text, in bytes. A link with a pass has about 400.
const MAX_TEXT: usize = 1024;

/// The text of a request's body as a picture; 413 if it is too long, 400 if there is none.
pub(super) async fn draw(body: Body) -> Response {
    let Ok(text) = to_bytes(body, MAX_TEXT).await else {
        let problem = format!("The text for a QR code has at most {MAX_TEXT} bytes.\n");
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, problem);
    };
    if text.is_empty() {
        let problem = "Send the text for the QR code as the request's body.\n".to_owned();
        return refuse(StatusCode::BAD_REQUEST, problem);
    }
    match QrCode::with_error_correction_level(&text, EcLevel::M) {
        Ok(code) => {
            let picture = code.render::<svg::Color<'_>>().build();
            ([(CONTENT_TYPE, HeaderValue::from_static(SVG))], picture).into_response()
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, format!("No QR code: {error}.\n")),
    }
}

fn refuse(status: StatusCode, problem: String) -> Response {
    (
        status,
        [(CONTENT_TYPE, HeaderValue::from_static(TEXT))],
        problem,
    )
        .into_response()
}
