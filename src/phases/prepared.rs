//! The phases of a machine image: what a node's phases do, except what belongs to one instance.

use std::sync::Arc;

use super::clean::Clean;
use super::cloudwatch_agent;
use super::docker::Docker;
use super::image::Image;
use super::metrics_cron;
use super::nvidia;
use super::preflight;
use super::ssm_agent::SsmAgent;
use super::{NONE, PACKAGES, entry};
use crate::engine::Entry;
use crate::node::Node;

/// Every phase of an image. `preflight` installs no units, since they would run at the next boot; `clean` comes last.
pub fn image_table(node: &Arc<Node>) -> Vec<Entry> {
    let n = || Arc::clone(node);
    #[rustfmt::skip]
    let table = vec![
        //    name                needs                         minutes  uses     work
        entry("preflight",        &[],                               25, PACKAGES, preflight::OfImage::new(n())),
        entry("ssm-agent",        &["preflight"],                     5, PACKAGES, SsmAgent(n())),
        entry("nvidia",           &["preflight"],                    25, PACKAGES, nvidia::Installed::new(n())),
        entry("docker",           &["preflight", "nvidia"],          15, PACKAGES, Docker(n())),
        entry("image",            &["docker"],                       25, NONE,     Image(n())),
        entry("cloudwatch-agent", &["preflight"],                    10, PACKAGES, cloudwatch_agent::Installed::new(n())),
        entry("metrics-cron",     &["preflight"],                     5, PACKAGES, metrics_cron::Installed(n())),
        entry("clean",            &["preflight", "ssm-agent", "nvidia", "docker", "image", "cloudwatch-agent", "metrics-cron"],
                                                                      5, NONE,     Clean(n())),
    ];
    table
}
