//! Phase `image`: the edge image is on this machine, and its digest is recorded.

use std::sync::Arc;

use async_trait::async_trait;

use crate::edge::image::{self, ImageFacts};
use crate::engine::{Applied, Phase, State};
use crate::error::Result;
use crate::node::Node;

/// The image that the config names is pulled. Only this phase pulls: with `--force` even if the image is here, since
/// its tag may have moved to a newer one.
pub(super) struct Image(pub Arc<Node>);

#[async_trait]
impl Phase for Image {
    async fn check(&self) -> Result<State> {
        let Node { host, config, .. } = &*self.0;
        let reference = image::reference(&config.edge);
        let here = match host.docker().server_version().await {
            Ok(Some(_)) => image::facts(host, &config.edge).await?,
            _ => return Ok(State::Needed("Docker does not run yet".into())),
        };
        Ok(match here {
            Some(facts) => State::Done(format!("{reference} is here ({})", name(&facts))),
            None => State::Needed(format!("{reference} is not pulled")),
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let Node { host, config, .. } = &*self.0;
        let before = image::facts(host, &config.edge).await.ok().flatten();
        let now = image::pull(host, &config.edge).await?;
        if let Some(before) = before.filter(|before| before.id != now.id) {
            tracing::warn!(
                "{} is another image now: {}, before {}",
                image::reference(&config.edge),
                name(&now),
                name(&before)
            );
        }
        Ok(Applied::Finished)
    }
}

/// The name that the registry knows it by, so that the journal tells which image a tag meant.
fn name(facts: &ImageFacts) -> &str {
    facts.digest.as_deref().unwrap_or(&facts.id)
}
