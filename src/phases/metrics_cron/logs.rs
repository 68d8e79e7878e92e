//! The logs that the node's processes write into the data folder are rotated by logrotate: nothing else bounds them.
//!
//! The container owns that folder. So logrotate runs as the container's user, and it touches no link, no file with
//! several hard links, and no special file; `tests/setup/logs.rs` tests that with the real one.

use crate::config::Config;
use crate::edge::Spec;
use crate::edge::run_as::{self, RunAs};
use crate::error::Result;
use crate::host::Host;
use crate::host::files::Access;
use crate::paths::LOGROTATE;

pub(super) const PACKAGE: &str = "logrotate";

/// What is missing, if anything is.
pub(super) async fn missing(host: &Host, config: &Config) -> Result<Option<String>> {
    let Some(wanted) = wanted(host, config)? else {
        let found = host.read(LOGROTATE)?;
        return Ok(found.map(|_| format!("{LOGROTATE} has no logs to rotate")));
    };
    Ok(if !host.package_installed(PACKAGE).await? {
        Some(format!("{PACKAGE} is not installed"))
    } else if host.read(LOGROTATE)?.as_deref() != Some(wanted.as_bytes()) {
        Some(format!("{LOGROTATE} is not as desired"))
    } else {
        None
    })
}

/// Installs the logrotate config.
pub(super) async fn apply(host: &Host, config: &Config) -> Result<()> {
    let Some(wanted) = wanted(host, config)? else {
        return host.remove(LOGROTATE).map(drop);
    };
    install(host).await?;
    // With another mode, logrotate ignores it.
    host.write_if_changed(LOGROTATE, wanted.as_bytes(), Access::mode(0o644))
        .map(drop)
}

/// Installs logrotate if necessary.
pub(super) async fn install(host: &Host) -> Result<()> {
    if !host.package_installed(PACKAGE).await? {
        host.install_packages(&[PACKAGE]).await?;
    }
    Ok(())
}

fn wanted(host: &Host, config: &Config) -> Result<Option<String>> {
    let spec = Spec::require(host, config)?;
    let run_as = run_as::last(host, config).unwrap_or(RunAs::User);
    Ok((!spec.logs.is_empty()).then(|| table(config, &spec, run_as)))
}

/// Uses copytruncate, since the processes keep their logs open.
fn table(config: &Config, spec: &Spec, run_as: RunAs) -> String {
    let folder = spec.data_folder(config);
    let logs: Vec<String> = spec
        .logs
        .values()
        .map(|name| format!("\"{folder}/{name}\""))
        .collect();
    let owner = match run_as {
        RunAs::User => &config.user.name,
        RunAs::Image => "root",
    };
    // Docker's units are lower-case, of which logrotate knows only k.
    let size = spec.log.max_size.replace('m', "M").replace('g', "G");
    format!(
        "# Written by bootstrap (phase metrics-cron).\n{} {{\n    su {owner} {owner}\n    size {size}\n    rotate {}\n    \
         copytruncate\n    missingok\n    notifempty\n    nocompress\n    nodateext\n    nomail\n}}\n",
        logs.join("\n"),
        spec.log.max_files,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;
    use crate::paths::SPEC;
    use crate::phases::testing::{DEBIAN, config};

    const SHIPPED: &str = include_str!("../../../cloudformation/assets/edge.json");

    #[tokio::test]
    async fn the_logs_of_the_spec_are_rotated_as_the_container_s_user() {
        let tree = Tree::new();
        tree.file("/etc/os-release", DEBIAN);
        tree.tool("dpkg-query", "echo installed");
        tree.file(SPEC, SHIPPED);
        let (host, mut config) = (&tree.host, config(false));
        assert_eq!(
            missing(host, &config).await.unwrap().unwrap(),
            "/etc/logrotate.d/bootstrap-edge is not as desired"
        );
        apply(host, &config).await.unwrap();
        assert_eq!(missing(host, &config).await.unwrap(), None);
        assert_eq!(
            host.read_text(LOGROTATE).unwrap().unwrap(),
            "# Written by bootstrap (phase metrics-cron).\n\
             \"/data/edgelauncher/anycast.log\"\n\"/data/edgelauncher/edgecore.log\"\n\"/data/edgelauncher/edgeencoder.log\" {\n    \
             su bcuser bcuser\n    size 50M\n    rotate 3\n    copytruncate\n    missingok\n    notifempty\n    nocompress\n    \
             nodateext\n    nomail\n}\n"
        );

        config.edge.run_as = crate::config::RunAs::Image;
        assert!(missing(host, &config).await.unwrap().is_some());
        apply(host, &config).await.unwrap();
        let table = host.read_text(LOGROTATE).unwrap().unwrap();
        assert!(table.contains("\n    su root root\n"), "{table}");

        let mut spec: serde_json::Value = serde_json::from_str(SHIPPED).unwrap();
        spec["logs"] = serde_json::json!({});
        spec["vote"] = serde_json::Value::Null;
        tree.file(SPEC, spec.to_string());
        assert_eq!(
            missing(host, &config).await.unwrap().unwrap(),
            "/etc/logrotate.d/bootstrap-edge has no logs to rotate"
        );
        apply(host, &config).await.unwrap();
        assert_eq!(missing(host, &config).await.unwrap(), None);
        assert_eq!(host.read(LOGROTATE).unwrap(), None);
    }
}
