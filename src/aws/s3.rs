//! S3: one verified download.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use aws_types::SdkConfig;
use tokio::sync::Mutex;

use super::query::policy;
use super::refusal::{Refusal, Trouble, trouble};
use crate::digest::Hasher;
use crate::error::{Error, OrFail, Result};
use crate::retry::retry;

/// Largest object accepted, in bytes.
const LARGEST: u64 = 1024 * 1024 * 1024;

/// A download that receives no byte for this long is resumed.
const STALLED: Duration = Duration::from_secs(30);

/// How many bytes, at least, are hashed and written at a time.
const PIECE: usize = 1024 * 1024;

const DISK: &str = "check that the root disk has space and is not read-only";
const UPLOAD: &str = "upload the archive by hand (`aws s3 cp assets.tar.gz s3://BUCKET/KEY`), then set assets.bucket, assets.key and assets.sha256 (`sha256sum assets.tar.gz`) in the config";

/// Fetches `s3://bucket/key`, which must have this SHA-256 (lower-case hex), into an unnamed file in `folder`: it is
/// gone when closed, however the run ends, so its bytes need not reach the disk.
///
/// A download whose connection breaks is resumed where it stopped, as long as the object is the same.
pub async fn download(
    aws: &SdkConfig,
    bucket: &str,
    key: &str,
    sha256: &str,
    folder: &Path,
) -> Result<File> {
    let source = Source {
        client: client(aws),
        region: aws.region().map_or("", AsRef::as_ref),
        bucket,
        key,
        name: crate::log::printable(&format!("s3://{bucket}/{key}")),
    };
    let partial = Mutex::new(Partial::new(folder)?);
    retry(policy(aws), &source.name, || async {
        partial.lock().await.proceed(&source).await
    })
    .await?;
    partial.into_inner().finish(&source.name, sha256)
}

/// Path-style addressing only if an endpoint is configured: `bucket.localhost` seldom resolves.
pub(super) fn client(aws: &SdkConfig) -> Client {
    let named = aws.endpoint_url().is_some() || super::endpoint::of("S3").is_some();
    let config = Builder::from(aws)
        .force_path_style(named)
        // The SHA-256 that the caller expects is the check; S3 has no checksum for the rest of an object.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// The bucket's own region, if the response names one other than `region`.
pub(super) fn home_of<'a, E>(
    error: &'a SdkError<E, HttpResponse>,
    region: &str,
) -> Option<&'a str> {
    error
        .raw_response()
        .and_then(|response| response.headers().get("x-amz-bucket-region"))
        .filter(|home| super::imds::is_region(home) && *home != region)
}

/// Whether S3 says that the bucket is in another region: with a 301 without Location, which no client follows
/// (aws-sdk-rust#183).
pub(super) fn is_elsewhere(refusal: &Refusal) -> bool {
    matches!(refusal.status, 301 | 307)
        || matches!(
            refusal.code.as_str(),
            "PermanentRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException"
        )
}

struct Source<'a> {
    client: Client,
    region: &'a str,
    bucket: &'a str,
    key: &'a str,
    name: String,
}

/// What has been received of the object so far.
struct Partial {
    file: Arc<File>,
    hasher: Hasher,
    length: u64,
    etag: Option<String>,
}

impl Partial {
    fn new(folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).or_fail(
            || format!("cannot make a temporary file in {}", folder.display()),
            DISK,
        )?;
        Ok(Self {
            file: Arc::new(file),
            hasher: Hasher::default(),
            length: 0,
            etag: None,
        })
    }

    fn restart(&mut self) -> Result<()> {
        self.empty()
            .or_fail(|| "cannot empty the temporary file of a download", DISK)?;
        self.hasher = Hasher::default();
        self.length = 0;
        self.etag = None;
        Ok(())
    }

    fn empty(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.as_ref().rewind()
    }

    async fn proceed(&mut self, source: &Source<'_>) -> Result<()> {
        let mut request = source
            .client
            .get_object()
            .bucket(source.bucket)
            .key(source.key);
        if self.length > 0 {
            request = request
                .range(format!("bytes={}-", self.length))
                .set_if_match(self.etag.clone());
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let (status, error) = source.explain(&error);
                if matches!(status, Some(412 | 416)) && self.length > 0 {
                    self.restart()?;
                    return Err(Error::new(
                        format!("{} changed while it was read", source.name),
                        "run `bootstrap` again",
                    )
                    .transient());
                }
                return Err(error);
            }
        };
        let goes_on = format!("bytes {}-", self.length);
        if self.length > 0
            && !answer
                .content_range()
                .is_some_and(|range| range.starts_with(&goes_on))
        {
            self.restart()?;
        }
        self.etag = answer.e_tag().map(Into::into);
        self.take(source, answer).await
    }

    async fn take(&mut self, source: &Source<'_>, answer: GetObjectOutput) -> Result<()> {
        let name = &source.name;
        let too_large = || {
            Error::new(
                format!("{name} is larger than {LARGEST} bytes"),
                "set assets.bucket and assets.key in the config to the assets archive",
            )
        };
        let cut = |detail: String| {
            Error::new(
                format!("the download of {name} broke off ({detail})"),
                "check the instance's network, then run `bootstrap` again",
            )
            .transient()
        };
        let rest = answer
            .content_length()
            .and_then(|length| u64::try_from(length).ok());
        let wanted = rest.map(|rest| self.length.saturating_add(rest));
        if wanted.is_some_and(|wanted| wanted > LARGEST) {
            return Err(too_large());
        }
        let of_wanted = |length: u64| match wanted {
            Some(wanted) => format!("{length} of {wanted} bytes"),
            None => format!("{length} of an unknown number of bytes"),
        };
        let mut body = answer.body;
        let (mut coming, mut come) = (Piece::new(), Piece::new());
        loop {
            // One piece is hashed and written while the next one arrives.
            let (end, kept) = tokio::join!(coming.fill(&mut body), self.keep(come));
            let emptied = kept.or_fail(|| format!("cannot write {name} to the disk"), DISK)?;
            come = std::mem::replace(&mut coming, emptied);
            if self.length.saturating_add(come.length()) > LARGEST {
                return Err(too_large());
            }
            let Some(end) = end else { continue };
            // What arrived before a failure need not be fetched again.
            self.keep(come)
                .await
                .or_fail(|| format!("cannot write {name} to the disk"), DISK)?;
            return match end {
                End::Stalled => Err(cut(format!("no byte for {} s", STALLED.as_secs()))),
                End::Broken(error) => Err(cut(of_wanted(self.length)).because(error)),
                End::Whole if wanted.is_some_and(|wanted| wanted != self.length) => {
                    Err(cut(of_wanted(self.length)))
                }
                End::Whole => Ok(()),
            };
        }
    }

    /// Hashes and writes the piece in a thread of its own: that takes as long as receiving. Returns the piece, emptied.
    async fn keep(&mut self, piece: Piece) -> io::Result<Piece> {
        let (file, mut hasher) = (Arc::clone(&self.file), std::mem::take(&mut self.hasher));
        let length = piece.length();
        let work = tokio::task::spawn_blocking(move || {
            hasher.update(&piece.0);
            let written = file.as_ref().write_all(&piece.0);
            (hasher, piece, written)
        });
        let (hasher, mut piece, written) = work.await.map_err(io::Error::other)?;
        self.hasher = hasher;
        written?;
        self.length = self.length.saturating_add(length);
        piece.0.clear();
        Ok(piece)
    }

    fn finish(self, name: &str, sha256: &str) -> Result<File> {
        if self.length == 0 {
            return Err(Error::new(format!("{name} is empty (0 bytes)"), UPLOAD));
        }
        let actual = self.hasher.hex();
        if actual != sha256 {
            return Err(Error::new(
                format!("{name} has SHA-256 {actual}, expected {sha256}"),
                UPLOAD,
            ));
        }
        self.file
            .as_ref()
            .rewind()
            .and_then(|()| self.file.try_clone())
            .or_fail(|| format!("cannot read {name} back from the disk"), DISK)
    }
}

/// A part of the object in memory. The bytes are copied into it so that the HTTP client gets its buffer back at once:
/// it would allocate for each read, and new memory costs more than the copy.
struct Piece(Vec<u8>);

/// Why the body ended.
enum End {
    Whole,
    Stalled,
    Broken(ByteStreamError),
}

impl Piece {
    fn new() -> Self {
        Self(Vec::with_capacity(PIECE))
    }

    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    /// Reads until it is full, or the body ends.
    async fn fill(&mut self, body: &mut ByteStream) -> Option<End> {
        while self.0.len() < PIECE {
            let Ok(chunk) = tokio::time::timeout(STALLED, body.next()).await else {
                return Some(End::Stalled);
            };
            match chunk {
                Some(Ok(chunk)) => self.0.extend_from_slice(&chunk),
                Some(Err(error)) => return Some(End::Broken(error)),
                None => return Some(End::Whole),
            }
        }
        None
    }
}

impl Source<'_> {
    fn explain(&self, error: &SdkError<GetObjectError, HttpResponse>) -> (Option<u16>, Error) {
        let home = home_of(error, self.region);
        match trouble(&format!("the download of {}", self.name), error) {
            Trouble::Refused(refusal) => {
                let (status, settles) = (refusal.status, refusal.may_settle());
                let error = self.refused(refusal, home).settling_if(settles);
                (Some(status), error)
            }
            Trouble::Silent(error) => (None, error),
        }
    }

    fn refused(&self, refusal: Refusal, home: Option<&str>) -> Error {
        let Self {
            region,
            bucket,
            name,
            ..
        } = self;
        if let (true, Some(home)) = (is_elsewhere(&refusal), home) {
            return Error::new(
                format!("the bucket {bucket} is in {home}, not in {region}"),
                format!(
                    "upload the archive to a bucket in {region} (`aws s3 cp`), then set assets.bucket and assets.key in the config"
                ),
            );
        }
        match refusal.code.as_str() {
            "NoSuchBucket" => Error::new(format!("the bucket {bucket} does not exist"), UPLOAD),
            "NoSuchKey" => Error::new(format!("{name} does not exist"), UPLOAD),
            _ if refusal.is_about_key() => refusal.key_error(&format!("the download of {name}")),
            _ if refusal.is_denied() => Error::new(
                format!("{name} may not be read ({})", refusal.text()),
                refusal.denied_hint(
                    "allow s3:GetObject on it in the policy of the instance's role; without s3:ListBucket a missing object \
                     is answered like this too, so also check assets.key",
                ),
            ),
            _ => refusal.into_error(&format!("the download of {name}"), "s3:GetObject"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::aws::tests::config;
    use crate::digest::sha256;
    use standins::scripted::{Received, Reply, Server, serve};

    /// The result of a download, which must leave nothing in its folder.
    async fn fetch(server: &Server, sha256: &str) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let aws = config(&server.url).await;
        let result = download(&aws, "b", "a/k.tgz", sha256, folder.path()).await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut bytes = Vec::new();
        result?.read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    }

    fn bytes() -> Vec<u8> {
        (0..100_000u32).map(|n| (n % 251) as u8).collect()
    }

    /// Serves the rest of `content` from where the request asks, `step` bytes at a time.
    fn stingy(content: Vec<u8>, etag: &'static str, step: usize) -> Server {
        serve(move |request: &Received| {
            let start: usize = request.header("range").map_or(0, |range| {
                range
                    .trim_start_matches("bytes=")
                    .trim_end_matches('-')
                    .parse()
                    .unwrap()
            });
            let last = content.len() - 1;
            Reply::new(
                if start == 0 { 200 } else { 206 },
                content[start..].to_vec(),
            )
            .header("ETag", etag)
            .header(
                "Content-Range",
                &format!("bytes {start}-{last}/{}", content.len()),
            )
            .cut(step)
        })
    }

    #[tokio::test]
    async fn a_cut_download_goes_on_where_it_stopped() {
        let content = bytes();
        let server = stingy(content.clone(), "\"v1\"", 40_000);
        assert_eq!(fetch(&server, &sha256(&content)).await.unwrap(), content);
        let requests = server.received();
        let ranges: Vec<_> = requests
            .iter()
            .map(|request| (request.header("range"), request.header("if-match")))
            .collect();
        assert_eq!(
            ranges,
            [
                (None, None),
                (Some("bytes=40000-"), Some("\"v1\"")),
                (Some("bytes=80000-"), Some("\"v1\""))
            ]
        );
        assert!(requests[0].target.starts_with("/b/a/k.tgz"));
    }

    #[tokio::test]
    async fn a_server_that_always_cuts_is_given_up_and_leaves_nothing() {
        let server = stingy(bytes(), "\"v1\"", 10);
        let result = fetch(&server, "00").await;
        let error = result.unwrap_err();
        assert!(
            error
                .reason()
                .starts_with("the download of s3://b/a/k.tgz broke off ("),
            "{error}"
        );
        assert!(error.is_transient());
        assert_eq!(server.received().len(), 4);
    }

    #[tokio::test]
    async fn an_object_that_changes_in_between_is_read_afresh() {
        let content = bytes();
        let copy = content.clone();
        let mut request = 0;
        let server = serve(move |_| {
            request += 1;
            match request {
                1 => Reply::new(200, vec![0; 1000])
                    .header("ETag", "\"old\"")
                    .cut(500),
                2 => Reply::new(412, "<Error><Code>PreconditionFailed</Code></Error>"),
                _ => Reply::new(200, copy.clone()).header("ETag", "\"new\""),
            }
        });
        assert_eq!(fetch(&server, &sha256(&content)).await.unwrap(), content);
    }

    #[tokio::test]
    async fn what_is_wrong_never_appears() {
        let other = sha256(b"other");
        let ours = sha256(b"mine");
        for (reply, reason) in [
            (
                (200, "other"),
                format!("s3://b/a/k.tgz has SHA-256 {other}, expected {ours}"),
            ),
            ((200, ""), "s3://b/a/k.tgz is empty (0 bytes)".into()),
            (
                (
                    404,
                    "<Error><Code>NoSuchKey</Code><Message>m</Message></Error>",
                ),
                "s3://b/a/k.tgz does not exist".into(),
            ),
            (
                (
                    404,
                    "<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>",
                ),
                "the bucket b does not exist".into(),
            ),
            (
                (
                    403,
                    "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
                ),
                "s3://b/a/k.tgz may not be read (AccessDenied: Access Denied)".into(),
            ),
            (
                (
                    400,
                    "<Error><Code>ExpiredToken</Code><Message>old</Message></Error>",
                ),
                "the download of s3://b/a/k.tgz was refused (ExpiredToken: old)".into(),
            ),
        ] {
            let server = serve(move |_| Reply::new(reply.0, reply.1));
            let result = fetch(&server, &ours).await;
            let error = result.unwrap_err();
            assert_eq!(error.reason(), reason);
            // A permission granted moments ago may not have propagated yet, and there may be new credentials.
            let settles = reply.0 == 403 || reason.contains("ExpiredToken");
            assert_eq!(error.is_transient(), settles);
            assert_eq!(server.received().len() > 1, settles, "{reason}");
        }
    }

    #[tokio::test]
    async fn a_bucket_elsewhere_is_named_with_its_region() {
        let server = serve(|_| {
            Reply::new(
                301,
                "<Error><Code>PermanentRedirect</Code><Message>m</Message></Error>",
            )
            .header("x-amz-bucket-region", "eu-west-1")
        });
        let result = fetch(&server, "00").await;
        let error = result.unwrap_err();
        assert_eq!(
            (error.reason(), error.hint()),
            (
                "the bucket b is in eu-west-1, not in us-east-1",
                "upload the archive to a bucket in us-east-1 (`aws s3 cp`), then set assets.bucket and assets.key in the config"
            )
        );
    }

    #[tokio::test]
    async fn a_busy_service_is_tried_again_then_named() {
        let server = serve(|_| {
            Reply::new(
                503,
                "<Error><Code>SlowDown</Code><Message>Reduce</Message></Error>",
            )
        });
        let result = fetch(&server, "00").await;
        let error = result.unwrap_err();
        assert_eq!(
            error.reason(),
            "the download of s3://b/a/k.tgz was refused (SlowDown: Reduce)"
        );
        // Whichever command it was: a metrics tick is not a run.
        assert_eq!(
            error.hint(),
            "AWS is busy or has an outage; try again in a few minutes"
        );
        assert!(error.is_transient());
        assert!(server.received().len() >= 4);
    }

    #[tokio::test]
    async fn an_object_that_is_too_large_is_not_read() {
        let server = serve(|_| {
            Reply::raw(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1073741825\r\n\r\n",
            )
        });
        let result = fetch(&server, "00").await;
        assert_eq!(
            result.unwrap_err().reason(),
            "s3://b/a/k.tgz is larger than 1073741824 bytes"
        );
    }
}
