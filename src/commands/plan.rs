//! `bootstrap plan`

use std::path::Path;
use std::sync::Arc;

use super::{Exit, Output, block_on, engine, fail, host, json, node, say};
use crate::error::Result;
use crate::node::{Document, Node};
use crate::{log, report};

/// Checks every phase, changes nothing, says what a run would do.
pub fn plan(
    config: &Path,
    as_json: bool,
    documents: fn() -> Vec<Document>,
    output: Output,
) -> Exit {
    let host = host();
    output.log_beside_answer(&host);
    let node = match node(config, host) {
        Ok(node) => Arc::new(node.with_documents(documents)),
        Err(exit) => return exit,
    };
    match text(&node, as_json || output.format == log::Format::Json) {
        Ok(text) => {
            say(&text);
            Exit::Done
        }
        Err(error) => fail(&error),
    }
}

fn text(node: &Arc<Node>, as_json: bool) -> Result<String> {
    let engine = engine(node)?;
    let plan = block_on(async move { engine.plan().await })?;
    if as_json {
        json(&plan)
    } else {
        Ok(report::text::plan(&plan))
    }
}
