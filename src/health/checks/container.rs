//! The container: that it runs as wanted, sees its GPU, and shows nothing that it should not.

use super::running;
use crate::health::facts::Facts;
use crate::health::finding::{Finding, ago, fail, holds, pass, skip, warn};
use crate::health::report::RUN;

/// Shorter uptimes than this, in seconds, with this many restarts are a crash loop.
const LOOP_SECONDS: i64 = 600;
const LOOP_RESTARTS: u64 = 3;

pub(super) fn container(facts: &Facts) -> Finding {
    let found = match &facts.edge.live.container {
        Err(error) => return fail(error.to_string(), error.hint()),
        Ok(None) => return fail("there is no container", RUN),
        Ok(Some(found)) => found,
    };
    if found.spec.is_none() {
        return fail(
            "a container of that name exists that bootstrap did not make",
            "run: bootstrap --phase container, which says how to move it aside",
        );
    }
    if let Some((reason, hint)) = &facts.edge.trouble {
        return fail(reason.clone(), hint);
    }
    let age = found.age(facts.now).unwrap_or_default();
    let ends = || {
        facts
            .edge
            .log_end
            .as_deref()
            .unwrap_or("its log is not known")
    };
    if !found.is_up() {
        return fail(
            format!("{}, exit code {}; {}", found.status, found.end(), ends()),
            RUN,
        );
    }
    if found.restarts >= LOOP_RESTARTS && age < LOOP_SECONDS {
        return fail(
            format!(
                "started again {} times, last {} ago; {}",
                found.restarts,
                ago(age),
                ends()
            ),
            "read its log: docker logs --tail 100 edgelauncher",
        );
    }
    let restarts = match found.restarts {
        0 => String::new(),
        1 => ", 1 restart".into(),
        some => format!(", {some} restarts"),
    };
    pass(format!("running for {}{restarts}", ago(age)))
}

pub(super) fn password(facts: &Facts) -> Finding {
    match facts.edge.exposed {
        None => skip("nothing to look for"),
        Some(exposed) => holds(
            !exposed,
            "not in docker inspect",
            "docker inspect shows the wallet password",
            "remove the container (docker rm -f edgelauncher), then run: bootstrap --phase container",
        ),
    }
}

pub(super) fn gpu_container(facts: &Facts) -> Finding {
    let now = facts.now.as_second();
    match &facts.edge.live.gpus {
        None => skip("gpu is false"),
        Some(Ok(seen)) if let Some((said, hint)) = &seen.doubt => {
            warn(format!("{} {said}", seen.names).trim().to_owned(), *hint)
        }
        Some(Ok(seen)) => pass(match facts.progress.gpu_restarted_at {
            // Worth mentioning for about a day.
            Some(time) if (0..24 * 3600).contains(&(now - time)) => {
                format!(
                    "{}; restarted {} ago, since it had lost its GPU",
                    seen.names,
                    ago(now - time)
                )
            }
            _ => seen.names.clone(),
        }),
        Some(Err(said)) => fail(
            match (facts.progress.gpu_restarted_at, facts.progress.gpu_lost_at) {
                (Some(restarted), Some(lost)) if lost <= restarted => format!(
                    "the container does not see its GPU, and a restart {} ago did not help: {said}",
                    ago(now - restarted)
                ),
                _ => format!("the container does not see its GPU: {said}"),
            },
            "run: docker restart edgelauncher; if that does not help: bootstrap --phase nvidia --phase docker",
        ),
    }
}

pub(super) fn ports(facts: &Facts) -> Finding {
    let (Ok(spec), Some(found)) = (&facts.spec, running(facts).filter(|found| found.is_up()))
    else {
        return fail("no container runs", RUN);
    };
    let bind = facts.rpc_bind.to_string();
    let foreign = found
        .ports
        .iter()
        .find(|(address, port)| *address != bind || !spec.ports.contains(port));
    let closed = spec
        .ports
        .iter()
        .find(|port| !found.ports.iter().any(|(_, open)| open == *port));
    let mend = "run: bootstrap --phase container --force; if it stays: docker rm -f edgelauncher, then bootstrap --phase container";
    match (foreign, closed) {
        (Some((address, port)), _) => fail(format!("port {port} is published at {address}"), mend),
        (None, Some(port)) => fail(format!("port {port} is not published"), mend),
        (None, None) => pass(format!("published at {bind} only")),
    }
}
