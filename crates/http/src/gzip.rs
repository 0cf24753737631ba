//! Compression of whole answers for those who ask for it.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};

use crate::response::{Body, Response};

/// Larger bodies leave the runtime's thread for the work. Unit: bytes.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Whether the request accepts gzip, with a weight above zero.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let Some(accepted) = headers.get(ACCEPT_ENCODING) else { return false };
    let Ok(accepted) = accepted.to_str() else { return false };
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(|q| q.trim().parse().unwrap_or(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && weight.unwrap_or(1.0) > 0.0
    })
}

/// Compresses a body that is there as a whole; streams and empty bodies stay as they are.
pub(crate) async fn compress(mut response: Response) -> Response {
    let body = match response.body_mut() {
        Body::Whole(body) if !body.is_empty() => std::mem::take(body),
        Body::Whole(_) | Body::Parts(_) | Body::Archive(_) => return response,
    };
    let plain = body.clone();
    let compressed = if body.len() <= INLINE_BYTES_MAX {
        deflate(&body)
    } else {
        tokio::task::spawn_blocking(move || deflate(&body)).await.ok().flatten()
    };
    let (body, is_compressed) = match compressed {
        Some(compressed) => (compressed, true),
        None => (plain, false),
    };
    *response.body_mut() = Body::Whole(body);
    if is_compressed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn deflate(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4 + 64), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_codings() {
        let check = |value: &'static str, want| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(is_accepted(&headers), want, "{value}");
        };
        check("gzip", true);
        check("deflate, gzip;q=1.0, *;q=0.5", true);
        check("gzip;q=0", false);
        check("br", false);
        check("GZIP ; q=0.5", true);
    }
}
