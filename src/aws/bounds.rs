//! Bounds how much of a response the SDK reads into memory: it has no limit of its own.

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::{HttpClient as _, SharedHttpClient};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use http_body_util::Limited;

/// In bytes. A secret has 65,536 at most; errors and the other answers are smaller.
const LARGEST: usize = 1024 * 1024;

/// `client`, but a response longer than [`LARGEST`] is cut off there and counts as none. An object is passed through:
/// its reader has a limit of its own.
pub(super) fn bounded(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Bounded(client.http_connector(settings, components)))
    })
}

#[derive(Debug)]
struct Bounded(SharedHttpConnector);

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // How the SDK names the operation in the URL.
        let is_for_object = request.uri().contains("x-id=GetObject");
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if is_for_object && answer.status().is_success() {
                return Ok(answer);
            }
            Ok(answer.map(|body| SdkBody::from_body_1_x(Limited::new(body, LARGEST))))
        })
    }
}
