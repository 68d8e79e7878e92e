//! The edge image: its reference, and pulling it.

use std::time::Duration;

use crate::config::Edge;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::log::printable;
use crate::paths::CONFIG;
use crate::retry::{Policy, retry};

/// Timeout of one pull; the image is several GB.
const PULL_TIMEOUT: Duration = Duration::from_mins(20);

/// Docker Hub's rate limit (too many pulls) calls for long pauses.
const PULL_POLICY: Policy = Policy {
    attempts: 6,
    first_pause: Duration::from_secs(5),
    longest_pause: Duration::from_secs(90),
};

/// What the container takes from the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `sha256:…` of the image's configuration.
    pub id: String,
    /// `sha256:…` of its manifest, as in the registry; an image built locally has none.
    pub digest: Option<String>,
    /// The image's own entrypoint and command, joined.
    pub argv: Vec<String>,
    /// The directory that it starts in.
    pub working_dir: String,
    /// Its own user, by name or number.
    pub user: String,
}

impl ImageFacts {
    /// Whether the image's own user is root.
    pub fn runs_as_root(&self) -> bool {
        matches!(self.user.as_str(), "root" | "0")
    }

    /// Reads the answer of `docker image inspect` for one image.
    pub fn from_inspect(image: &serde_json::Value) -> Result<Self> {
        let words = |key: &str| -> Vec<String> {
            let list = image.pointer(&format!("/Config/{key}"));
            list.and_then(serde_json::Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|word| word.as_str().map(String::from))
                .collect()
        };
        let text = |key: &str| {
            let text = image.pointer(&format!("/Config/{key}"));
            text.and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let working_dir = Some(text("WorkingDir")).filter(|path| path.starts_with('/'));
        // May include a group.
        let user = text("User");
        let user = user.split(':').next().filter(|user| !user.is_empty());
        let id = image.get("Id").and_then(serde_json::Value::as_str);
        let argv = [words("Entrypoint"), words("Cmd")].concat();
        match id {
            Some(id) if !argv.is_empty() => Ok(Self {
                id: id.into(),
                digest: digest(image),
                argv,
                working_dir: working_dir.unwrap_or_else(|| "/".into()),
                user: user.unwrap_or("root").to_owned(),
            }),
            _ => Err(Error::new(
                "the image has no entrypoint and no command",
                format!("check edge.image and edge.tag in {CONFIG}: it must be a program's image"),
            )),
        }
    }
}

/// Docker lists `REPOSITORY@sha256:…` for each repository that the image was pulled from.
fn digest(image: &serde_json::Value) -> Option<String> {
    let pulled = image.pointer("/RepoDigests/0")?.as_str()?;
    pulled.split_once('@').map(|(_, digest)| printable(digest))
}

/// The image reference for Docker; a digest takes precedence over a tag.
pub fn reference(edge: &Edge) -> String {
    let repository = edge
        .image
        .clone()
        .unwrap_or_else(|| format!("thetalabsorg/edgelauncher_{}", edge.network));
    match &edge.digest {
        Some(digest) => format!("{repository}@{digest}"),
        None => format!("{repository}:{}", edge.tag),
    }
}

/// What is known about the image on this machine, or `None` if it is not pulled.
pub async fn facts(host: &Host, edge: &Edge) -> Result<Option<ImageFacts>> {
    let image = host.docker().image(&reference(edge)).await?;
    image.as_ref().map(ImageFacts::from_inspect).transpose()
}

/// Pulls the image even if it is here: a tag may have moved.
pub async fn pull(host: &Host, edge: &Edge) -> Result<ImageFacts> {
    let name = reference(edge);
    tracing::info!("pulling {name}");
    retry(PULL_POLICY, "docker pull", async || {
        host.docker().pull(&name, PULL_TIMEOUT).await
    })
    .await?;
    facts(host, edge).await?.ok_or_else(|| {
        Error::new(
            format!("{name} was pulled, but Docker does not have it"),
            format!("run: docker pull {}", crate::shell::word(&name)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_image_by_network_tag_and_digest() {
        let mut edge = Edge::default();
        assert_eq!(reference(&edge), "thetalabsorg/edgelauncher_mainnet:latest");
        edge.image = Some("registry.local:5000/edge".into());
        edge.tag = "v1.3.1".into();
        assert_eq!(reference(&edge), "registry.local:5000/edge:v1.3.1");
        edge.digest = Some(format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(
            reference(&edge),
            format!("registry.local:5000/edge@sha256:{}", "ab".repeat(32))
        );
    }
}
