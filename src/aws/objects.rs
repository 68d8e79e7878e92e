//! S3: small objects, whole: put if absent, read, listed.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_types::SdkConfig;

use super::query::policy;
use super::refusal::{Refusal, Trouble, trouble};
use super::s3::{client, home_of, is_elsewhere};
use crate::error::{Error, Result};
use crate::log::printable;
use crate::retry::{Policy, retry};

/// A bucket, for objects far smaller than memory.
pub struct Bucket<'a> {
    client: Client,
    policy: Policy,
    region: &'a str,
    name: &'a str,
}

/// Outcome of putting an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was put.
    New,
    /// There already was one with that key; it is left as it is.
    Taken,
}

impl<'a> Bucket<'a> {
    /// The bucket of that name. Makes no call yet.
    pub fn new(aws: &'a SdkConfig, name: &'a str) -> Self {
        Self {
            client: client(aws),
            policy: policy(aws),
            region: aws.region().map_or("", AsRef::as_ref),
            name,
        }
    }

    /// The object's name in messages.
    pub fn object(&self, key: &str) -> String {
        printable(&format!("s3://{}/{key}", self.name))
    }

    /// Puts the object, unless there is one already: S3 overwrites nothing, even if others write at the same moment,
    /// and checks what arrived against the SHA-256 sent with it.
    pub async fn put_new(&self, key: &str, bytes: &[u8]) -> Result<Put> {
        let what = format!("the upload of {}", self.object(key));
        retry(self.policy, &what, || async {
            let request = self.client.put_object().bucket(self.name).key(key);
            let request = request
                .if_none_match("*")
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .body(ByteStream::from(bytes.to_vec()));
            match request.send().await {
                Ok(_) => Ok(Put::New),
                Err(error) if status(&error) == Some(412) => Ok(Put::Taken),
                Err(error) => Err(self.explain(&what, "s3:PutObject", &error)),
            }
        })
        .await
    }

    /// The object's bytes, or `None` if there is none. One of more than `most` bytes is an error.
    pub async fn get(&self, key: &str, most: usize) -> Result<Option<Vec<u8>>> {
        let what = format!("the download of {}", self.object(key));
        retry(self.policy, &what, || async {
            let request = self.client.get_object().bucket(self.name).key(key);
            let mut body = match request.send().await {
                Ok(answer) => answer.body,
                Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
                Err(error) => return Err(self.explain(&what, "s3:GetObject", &error)),
            };
            let mut bytes = Vec::new();
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|error| {
                    let hint = "check the instance's network, then run `bootstrap` again";
                    let broken = Error::new(format!("{what} broke off"), hint);
                    broken.because(error).transient()
                })?;
                bytes.extend_from_slice(&chunk);
                if bytes.len() > most {
                    return Err(Error::new(
                        format!("{} is larger than {most} bytes", self.object(key)),
                        "see who has put it there",
                    ));
                }
            }
            Ok(Some(bytes))
        })
        .await
    }

    /// The keys of the objects under `prefix`, a thousand at most.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let what = format!("the list of {}", self.object(prefix));
        retry(self.policy, &what, || async {
            let request = self.client.list_objects_v2().bucket(self.name);
            match request.prefix(prefix).send().await {
                Ok(answer) => {
                    let objects = answer.contents.unwrap_or_default().into_iter();
                    Ok(objects.filter_map(|object| object.key).collect())
                }
                Err(error) => Err(self.explain(&what, "s3:ListBucket", &error)),
            }
        })
        .await
    }

    fn explain<E>(&self, what: &str, permission: &str, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let home = home_of(error, self.region);
        match trouble(what, error) {
            Trouble::Refused(refusal) => {
                let settles = refusal.may_settle();
                let refused = self.refused(what, permission, refusal, home);
                refused.settling_if(settles)
            }
            Trouble::Silent(error) => error,
        }
    }

    fn refused(&self, what: &str, permission: &str, refusal: Refusal, home: Option<&str>) -> Error {
        let Self { region, name, .. } = self;
        if let (true, Some(home)) = (is_elsewhere(&refusal), home) {
            return Error::new(
                format!("the bucket {name} is in {home}, not in {region}"),
                format!("name a bucket in {region} in the config"),
            );
        }
        match refusal.code.as_str() {
            "NoSuchBucket" => Error::new(
                format!("the bucket {name} does not exist"),
                "name another one in the config",
            ),
            // Another call is writing the same key at this moment.
            "ConditionalRequestConflict" => refusal.into_error(what, permission).transient(),
            _ => refusal.into_error(what, permission),
        }
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tests::config;
    use standins::scripted::{Reply, Server, script, serve};

    async fn with<T>(server: &Server, work: impl AsyncFnOnce(Bucket<'_>) -> T) -> T {
        let aws = config(&server.url).await;
        work(Bucket::new(&aws, "b")).await
    }

    #[tokio::test]
    async fn an_object_is_put_only_where_there_is_none() {
        let server = serve(|request| match request.header("if-none-match") {
            Some("*") => Reply::new(200, ""),
            _ => Reply::new(500, ""),
        });
        let put = with(&server, async |bucket| bucket.put_new("a/k", b"abc").await);
        assert_eq!(put.await.unwrap(), Put::New);
        let requests = server.received();
        let [request] = requests.as_slice() else {
            panic!("{requests:?}")
        };
        assert!(request.target.starts_with("/b/a/k?x-id=PutObject"));
        assert_eq!(request.body, b"abc");
        // FIPS 180-2, appendix B.1, in base64.
        assert_eq!(
            request.header("x-amz-checksum-sha256"),
            Some("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
        );

        let taken = "<Error><Code>PreconditionFailed</Code></Error>";
        let server = script(vec![(412, taken)]);
        let put = with(&server, async |bucket| bucket.put_new("a/k", b"abc").await);
        assert_eq!(put.await.unwrap(), Put::Taken);
        assert_eq!(server.received().len(), 1);
    }

    #[tokio::test]
    async fn a_write_at_the_same_moment_is_tried_again() {
        let conflict = "<Error><Code>ConditionalRequestConflict</Code></Error>";
        let server = script(vec![(409, conflict), (200, "")]);
        let put = with(&server, async |bucket| bucket.put_new("k", b"").await);
        assert_eq!(put.await.unwrap(), Put::New);
        assert_eq!(server.received().len(), 2);
    }

    #[tokio::test]
    async fn an_object_is_read_whole_or_not_at_all() {
        let missing = "<Error><Code>NoSuchKey</Code></Error>";
        let server = script(vec![(200, "abc"), (404, missing), (200, "abcd")]);
        with(&server, async |bucket| {
            assert_eq!(bucket.get("k", 3).await.unwrap(), Some(b"abc".to_vec()));
            assert_eq!(bucket.get("k", 3).await.unwrap(), None);
            let error = bucket.get("k", 3).await.unwrap_err();
            assert_eq!(error.reason(), "s3://b/k is larger than 3 bytes");
        })
        .await;
    }

    #[tokio::test]
    async fn the_keys_under_a_prefix_are_listed() {
        let list = "<ListBucketResult><Contents><Key>w/0xab/AB</Key></Contents>\
                    <Contents><Key>w/0xcd/cd</Key></Contents></ListBucketResult>";
        let server = script(vec![(200, list), (200, "<ListBucketResult/>")]);
        with(&server, async |bucket| {
            let keys = bucket.list("w/").await.unwrap();
            assert_eq!(keys, ["w/0xab/AB", "w/0xcd/cd"]);
            assert_eq!(bucket.list("w/").await.unwrap(), [""; 0]);
        })
        .await;
        let target = &server.received()[0].target;
        assert_eq!(target, "/b/?list-type=2&prefix=w%2F");
    }

    #[tokio::test]
    async fn a_refusal_names_the_call_and_what_allows_it() {
        let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        let server = serve(move |_| Reply::new(403, denied));
        with(&server, async |bucket| {
            for (error, what, permission) in [
                (
                    bucket.put_new("k", b"").await.unwrap_err(),
                    "the upload of s3://b/k",
                    "s3:PutObject",
                ),
                (
                    bucket.get("k", 3).await.unwrap_err(),
                    "the download of s3://b/k",
                    "s3:GetObject",
                ),
                (
                    bucket.list("w/").await.unwrap_err(),
                    "the list of s3://b/w/",
                    "s3:ListBucket",
                ),
            ] {
                assert_eq!(
                    (error.reason(), error.hint()),
                    (
                        format!("{what} was refused (AccessDenied: no)").as_str(),
                        format!("allow {permission} in the policy of the instance's role").as_str()
                    )
                );
                assert!(error.is_settling());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_bucket_elsewhere_and_none_at_all_are_told() {
        let gone = "<Error><Code>NoSuchBucket</Code></Error>";
        let server = script(vec![(404, gone)]);
        let listed = with(&server, async |bucket| bucket.list("w/").await).await;
        let error = listed.unwrap_err();
        assert_eq!(error.reason(), "the bucket b does not exist");
        let server = serve(|_| {
            let moved = "<Error><Code>PermanentRedirect</Code></Error>";
            Reply::new(301, moved).header("x-amz-bucket-region", "eu-west-1")
        });
        let listed = with(&server, async |bucket| bucket.list("w/").await).await;
        let error = listed.unwrap_err();
        assert_eq!(
            error.reason(),
            "the bucket b is in eu-west-1, not in us-east-1"
        );
    }
}
