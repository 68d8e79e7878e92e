//! Which user the container runs as: the config's if the image works for it, else the image's own root with few
//! privileges.
//!
//! Nothing published says whether the image works as a user other than root: its jobs are in `/root/fedml-miniconda`
//! (users' scripts, 2023). So each image is inspected once, and the result is kept.

use serde::{Deserialize, Serialize};

use super::image::ImageFacts;
use super::keys;
use super::look::Seen;
use super::spec::Spec;
use crate::config::{self, Config};
use crate::error::{OrFail, Result};
use crate::host::Host;
use crate::host::files::Access;
use crate::log::printable;
use crate::paths::{CONFIG, RUN_AS};

/// How many paths an explanation names.
const NAMED: usize = 3;

/// The user that the container runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunAs {
    /// The config's user, by id.
    User,
    /// The image's own user.
    Image,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The user.
    pub run_as: RunAs,
    /// The reason, for people.
    pub why: String,
    /// The image that it was decided for, by ID and, if it was pulled, digest.
    image: String,
    digest: Option<String>,
    /// What was looked for: if that changes, the decision is no longer valid.
    asked: Vec<String>,
    /// The evidence; `None` if no look was needed.
    seen: Option<Seen>,
}

impl Decision {
    /// The wording in `verify`.
    pub fn told(&self, config: &Config, image: &ImageFacts) -> String {
        let whom = match self.run_as {
            RunAs::User => config.user.name.clone(),
            RunAs::Image => format!("the image's own {}", printable(&image.user)),
        };
        format!("as {whom} ({})", self.why)
    }
}

/// The decision already made for this image, by the config or an earlier look; `None` if it has yet to be looked at.
pub fn known(
    host: &Host,
    config: &Config,
    spec: &Spec,
    image: &ImageFacts,
) -> Result<Option<Decision>> {
    let asked = spec.look(config, image, RunAs::User);
    let decision = |run_as, why: String| Decision {
        run_as,
        why,
        image: image.id.clone(),
        digest: image.digest.clone(),
        asked: asked.clone(),
        seen: None,
    };
    let forced = |run_as, name| Ok(Some(decision(run_as, format!("edge.run_as is {name}"))));
    match config.edge.run_as {
        config::RunAs::User => forced(RunAs::User, "user"),
        config::RunAs::Image => forced(RunAs::Image, "image"),
        config::RunAs::Auto if !image.runs_as_root() => {
            let why = format!(
                "the image's own user {} has no right to the data folder",
                printable(&image.user)
            );
            Ok(Some(decision(RunAs::User, why)))
        }
        config::RunAs::Auto => {
            Ok(recorded(host)?.filter(|record| record.image == image.id && record.asked == asked))
        }
    }
}

/// The user last decided on for the container, if any.
pub fn last(host: &Host, config: &Config) -> Option<RunAs> {
    match config.edge.run_as {
        config::RunAs::User => Some(RunAs::User),
        config::RunAs::Image => Some(RunAs::Image),
        config::RunAs::Auto => recorded(host).ok().flatten().map(|record| record.run_as),
    }
}

/// Decides, looking at the image if that has not been done.
pub async fn decide(
    host: &Host,
    config: &Config,
    spec: &Spec,
    image: &ImageFacts,
) -> Result<Decision> {
    if let Some(decision) = known(host, config, spec, image)? {
        return Ok(decision);
    }
    let uid = config.user.uid;
    let seen = look(host, config, spec, image, RunAs::User).await?;
    let foreign = keys::look(host, &spec.key_folder(config), Some(uid))?.foreign;
    let denied: Vec<String> = seen.denied().map(printable).collect();
    let (run_as, why) = match (denied.as_slice(), foreign.first()) {
        ([], None) => {
            let why = format!("uid {uid} can use all that the image needs");
            (RunAs::User, why)
        }
        // An earlier node ran as root, so its other files are root's, too.
        ([], Some(foreign)) => (RunAs::Image, foreign.clone()),
        (denied, _) => {
            let named = denied.iter().take(NAMED).cloned().collect::<Vec<_>>();
            let why = format!("uid {uid} cannot use the image's {}", named.join(", "));
            (RunAs::Image, why)
        }
    };
    let decision = Decision {
        run_as,
        why,
        image: image.id.clone(),
        digest: image.digest.clone(),
        asked: spec.look(config, image, RunAs::User),
        seen: Some(seen),
    };
    tracing::info!("{} will run {}", spec.name, decision.told(config, image));
    let bytes = serde_json::to_vec_pretty(&decision).unwrap_or_default();
    host.write_if_changed(RUN_AS, &bytes, Access::mode(0o600))?;
    Ok(decision)
}

/// Looks at the image from inside a throw-away container that has no network, volume, secret or privileges.
pub async fn look(
    host: &Host,
    config: &Config,
    spec: &Spec,
    image: &ImageFacts,
    run_as: RunAs,
) -> Result<Seen> {
    let argv = spec.look(config, image, run_as);
    let said = host.docker().run(&argv).await?;
    serde_json::from_str(&said).or_fail(
        || {
            format!(
                "the look at the image printed something else: {}",
                printable(&said)
            )
        },
        format!(
            "set edge.run_as to user or image in {CONFIG}, then run: bootstrap --phase container"
        ),
    )
}

/// The last look; a damaged file counts as none.
fn recorded(host: &Host) -> Result<Option<Decision>> {
    let bytes = host.read(RUN_AS)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    const SEEN: &str = r#"{"home":"/root","uses":[{"path":"/","wants":"read","found":"usable"},
        {"path":"/root","wants":"write","found":"FOUND"}]}"#;

    fn config(run_as: &str) -> Config {
        let config = serde_json::json!({
            "volume": {"id": "vol-0123456789abcdef0"},
            "assets": {"bucket": "b", "key": "k", "sha256": "00"},
            "secret": {"arn": "arn"},
            "edge": {"run_as": run_as}
        });
        serde_json::from_value(config).unwrap()
    }

    fn image(id: &str, user: &str) -> ImageFacts {
        let document =
            serde_json::json!({"Id": id, "Config": {"Cmd": ["/bin/start.sh"], "User": user}});
        ImageFacts::from_inspect(&document).unwrap()
    }

    /// A machine on which the look finds this.
    fn machine(found: &str) -> Tree {
        let tree = Tree::new();
        tree.tool(
            "docker",
            &format!("echo '{}'", SEEN.replace("FOUND", found)),
        );
        tree
    }

    async fn decided(tree: &Tree, run_as: &str, image: &ImageFacts) -> (RunAs, String) {
        let text = include_bytes!("../../cloudformation/assets/edge.json");
        let spec = Spec::parse(text, "mainnet").unwrap();
        let config = config(run_as);
        let decision = decide(&tree.host, &config, &spec, image).await.unwrap();
        assert_eq!(last(&tree.host, &config), Some(decision.run_as));
        (decision.run_as, decision.told(&config, image))
    }

    #[tokio::test]
    async fn the_image_decides_and_is_looked_at_once() {
        for (found, run_as, told) in [
            (
                "usable",
                RunAs::User,
                "as bcuser (uid 1002 can use all that the image needs)",
            ),
            (
                "absent",
                RunAs::User,
                "as bcuser (uid 1002 can use all that the image needs)",
            ),
            (
                "denied",
                RunAs::Image,
                "as the image's own root (uid 1002 cannot use the image's /root)",
            ),
        ] {
            let tree = machine(found);
            for _ in 0..2 {
                let decided = decided(&tree, "auto", &image("sha256:aa", "")).await;
                assert_eq!(decided, (run_as, told.to_owned()));
            }
            assert_eq!(tree.calls().len(), 1);
            decided(&tree, "auto", &image("sha256:bb", "")).await;
            assert_eq!(tree.calls().len(), 2, "another image is looked at again");
        }
    }

    #[tokio::test]
    async fn the_config_s_word_and_an_own_user_of_the_image_need_no_look() {
        let tree = machine("denied");
        let root = image("sha256:aa", "root");
        let user = decided(&tree, "user", &root).await;
        assert_eq!(
            user,
            (RunAs::User, "as bcuser (edge.run_as is user)".into())
        );
        let own = decided(&tree, "image", &root).await;
        let told = "as the image's own root (edge.run_as is image)";
        assert_eq!(own, (RunAs::Image, told.into()));
        let other = image("sha256:aa", "edge:edge");
        let decision = known(
            &tree.host,
            &config("auto"),
            &Spec::parse(
                include_bytes!("../../cloudformation/assets/edge.json"),
                "mainnet",
            )
            .unwrap(),
            &other,
        );
        assert_eq!(
            decision.unwrap().unwrap().told(&config("auto"), &other),
            "as bcuser (the image's own user edge has no right to the data folder)"
        );
        assert_eq!(tree.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn a_node_that_ran_as_root_goes_on_as_root() {
        let tree = machine("usable");
        let keys = "/data/edgelauncher/edgecore/key/encrypted";
        tree.file(&format!("{keys}/{}", "ab".repeat(20)), "{}");
        let uid = rustix::process::getuid().as_raw();
        let (run_as, told) = decided(&tree, "auto", &image("sha256:aa", "")).await;
        let why = format!("as the image's own root ({keys} is owned by uid {uid})");
        assert_eq!((run_as, told), (RunAs::Image, why));
    }

    #[tokio::test]
    async fn the_look_gets_nothing_that_is_worth_taking() {
        let tree = machine("usable");
        decided(&tree, "auto", &image("sha256:aa", "")).await;
        assert_eq!(
            tree.calls(),
            [
                "docker run --rm --network none --workdir / --user 1002:1002 --security-opt no-new-privileges --cap-drop ALL \
                 --pids-limit 4096 --oom-score-adj 500 --mount type=bind,source=/usr/local/bin/bootstrap,target=/bootstrap,readonly --entrypoint \
                 /bootstrap sha256:aa look --home-of=root --run=/bin/start.sh --read=/ --read=/root/fedml-miniconda --write=/tmp"
            ]
        );
    }

    #[tokio::test]
    async fn a_look_that_says_nothing_useful_is_an_error_with_a_way_out() {
        let tree = Tree::new();
        tree.tool("docker", "echo hello");
        let text = include_bytes!("../../cloudformation/assets/edge.json");
        let spec = Spec::parse(text, "mainnet").unwrap();
        let error = decide(&tree.host, &config("auto"), &spec, &image("sha256:aa", ""))
            .await
            .unwrap_err();
        assert_eq!(
            error.reason(),
            "the look at the image printed something else: hello"
        );
        tree.file(RUN_AS, "{");
        assert_eq!(last(&tree.host, &config("auto")), None);
    }
}
