//! Phase `docker`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::{Applied, Phase, State};
use crate::error::Result;
use crate::node::Node;

/// See the table in DESIGN: to be written.
pub struct Docker(pub Arc<Node>);

#[async_trait]
impl Phase for Docker {
    async fn check(&self) -> Result<State> {
        let _ = &self.0;
        todo!()
    }

    async fn apply(&self) -> Result<Applied> {
        todo!()
    }
}
