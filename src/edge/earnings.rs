//! What the node earns, as far as its processes report it; what they do not report is unknown, never zero.

use serde::Deserialize;
use serde_json::Value;

use super::processes::Answer;
use super::spec::Spec;
use crate::config::Config;
use crate::host::Host;

/// The period over which jobs are counted, in seconds.
pub const DAY: i64 = 24 * 3600;

/// How far a clock may be ahead of ours, in seconds; a later time is not taken for one.
const AHEAD: i64 = 300;

/// No genuine list is longer.
const MOST_JOBS: usize = 1_000;

/// Bytes at the end of a log that are searched for the last vote: hours of log.
const END: u64 = 256 << 10;

/// Where an answer lists jobs, and how to read them; all paths are JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobList {
    /// The list, in the result.
    pub list: String,
    /// Where a job has its end time: the first of these that is a time. A job without one is still running.
    pub ended: Vec<String>,
    /// How to recognize a failed job.
    pub failed: Mark,
}

/// A value at a given place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The place.
    pub at: String,
    /// The value.
    pub is: Value,
}

/// Where to find the last uptime vote.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// The process whose log it is in.
    pub log: String,
    /// Text that its line contains.
    pub line: String,
    /// The text before the Unix seconds.
    pub time: String,
}

/// What is known about earnings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Earnings {
    /// TFUEL earned and not yet paid out.
    pub pending_tfuel: Option<f64>,
    /// Jobs that ended recently.
    pub jobs: Option<Jobs>,
    /// When the node last voted for its uptime (Unix seconds).
    pub last_vote: Option<i64>,
}

/// Jobs that ended within the last day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Those that did not fail.
    pub done: u64,
    /// Those that did.
    pub failed: u64,
    /// How many have failed since the last success.
    pub failed_in_a_row: u64,
    /// When the last one ended (Unix seconds), even if more than a day ago.
    pub last: Option<i64>,
}

/// What the answers and the log say at the time `now`.
pub fn look(host: &Host, config: &Config, spec: &Spec, answers: &[Answer], now: i64) -> Earnings {
    Earnings {
        last_vote: last_vote(host, config, spec, now),
        ..told(answers, now)
    }
}

/// What the answers say.
pub fn told(answers: &[Answer], now: i64) -> Earnings {
    let mut earnings = Earnings::default();
    let mut lists = Vec::new();
    for Answer { question, said } in answers {
        let Ok(result) = said else { continue };
        let pending = question.pending_tfuel.as_ref();
        if let Some(pending) = pending.and_then(|at| amount(result.pointer(at)?)) {
            earnings.pending_tfuel = Some(pending);
        }
        let list = question.jobs.as_ref();
        lists.extend(list.and_then(|list| ended_jobs(list, result, now)));
    }
    if !lists.is_empty() {
        earnings.jobs = Some(count(lists.concat(), now));
    }
    earnings
}

/// When each job of the list ended, and whether it failed; `None` if there is no such list.
fn ended_jobs(list: &JobList, result: &Value, now: i64) -> Option<Vec<(i64, bool)>> {
    let jobs = result.pointer(&list.list)?.as_array()?;
    let ended = |job: &Value| {
        let mut times = list.ended.iter();
        let end = times.find_map(|at| time(job.pointer(at)?, now))?;
        Some((end, job.pointer(&list.failed.at) == Some(&list.failed.is)))
    };
    Some(jobs.iter().take(MOST_JOBS).filter_map(ended).collect())
}

fn count(mut ended: Vec<(i64, bool)>, now: i64) -> Jobs {
    ended.sort_unstable_by_key(|(end, _)| std::cmp::Reverse(*end));
    let last = ended.first().map(|(end, _)| *end);
    ended.retain(|(end, _)| now - end < DAY);
    let failed = ended.iter().filter(|(_, failed)| *failed).count() as u64;
    Jobs {
        done: ended.len() as u64 - failed,
        failed,
        failed_in_a_row: ended.iter().take_while(|(_, failed)| *failed).count() as u64,
        last,
    }
}

/// A time in Unix seconds, from seconds, milliseconds or RFC 3339. `None` if it is in the future: a published example
/// of an answer has one digit too many.
fn time(value: &Value, now: i64) -> Option<i64> {
    let seconds = match value {
        Value::Number(number) => number.as_i64()?,
        Value::String(text) => match text.trim().parse::<jiff::Timestamp>() {
            Ok(time) => time.as_second(),
            Err(_) => text.trim().parse().ok()?,
        },
        _ => return None,
    };
    let seconds = if seconds > 100_000_000_000 {
        seconds / 1000
    } else {
        seconds
    };
    (1..=now.saturating_add(AHEAD))
        .contains(&seconds)
        .then_some(seconds)
}

/// A plausible amount, given as a number or as text.
fn amount(value: &Value) -> Option<f64> {
    let amount = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (0.0..1e15).contains(&amount).then_some(amount)
}

fn last_vote(host: &Host, config: &Config, spec: &Spec, now: i64) -> Option<i64> {
    let vote = spec.vote.as_ref()?;
    let log = spec.logs.get(&vote.log)?;
    let path = format!("{}/{log}", spec.data_folder(config));
    let end = host.end_of_foreign(&path, END).ok()??;
    voted(&String::from_utf8_lossy(&end), vote, now)
}

/// The time of the last vote in the log.
fn voted(log: &str, vote: &Vote, now: i64) -> Option<i64> {
    let mut lines = log.lines().rev();
    lines.find_map(|line| {
        let (_, said) = line.split_once(&vote.line)?;
        let (_, digits) = said.split_once(&vote.time)?;
        let end = digits.find(|c: char| !c.is_ascii_digit());
        let digits = digits.get(..end.unwrap_or(digits.len()))?;
        time(&Value::from(digits), now)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::edge::processes::Question;
    use crate::edge::rpc::Fault;

    const NOW: i64 = 1_700_000_000;

    fn shipped() -> Spec {
        let text = include_str!("../../cloudformation/assets/edge.json");
        Spec::parse(text.as_bytes(), "mainnet").unwrap()
    }

    /// What is made of these answers to the shipped spec's questions, in order; `None` is no answer.
    fn told_by(said: [Option<Value>; 3]) -> Earnings {
        let questions: [Question; 3] = shipped().questions.try_into().unwrap();
        let answer = |(question, said): (Question, Option<Value>)| Answer {
            question,
            said: said.ok_or(Fault::Refused),
        };
        let answers: Vec<Answer> = questions.into_iter().zip(said).map(answer).collect();
        told(&answers, NOW)
    }

    fn past_job(ended: i64, status: &str) -> Value {
        json!({"id": "j", "start_time": (ended - 9) * 1000, "end_time": ended * 1000, "status": status,
               "reward_amount": 200_000_000_000_000_000_u64, "error": null})
    }

    fn past_jobs(jobs: &[Value]) -> Value {
        json!({"status": "success", "body": jobs})
    }

    /// The encoder's answer as published by users.
    fn encoder(pending: &Value, jobs: &[(i64, bool)]) -> Value {
        let job = |(ended, failed): &(i64, bool)| {
            let at = jiff::Timestamp::from_second(*ended).unwrap().to_string();
            let none = String::new();
            let (failed_at, finish) = if *failed { (at, none) } else { (none, at) };
            json!({"is_failed": failed, "failed_at": failed_at, "finish_time": finish, "error": "", "type": "encoding",
                   "id": "job_x", "reward_tfuelwei": "109000000000000000"})
        };
        let jobs: Vec<Value> = jobs.iter().map(job).collect();
        json!({"status": "ok", "encoder_state": "available", "current_time": {}, "progress": 0,
               "pending_tfuel": pending, "recent_jobs": jobs})
    }

    #[test]
    fn jobs_of_all_lists_are_counted_by_their_end() {
        let lavita = [
            past_job(NOW - 100, "rewarded"),
            past_job(NOW - 2 * DAY, "errored"),
        ];
        let video = [(NOW - 20, true), (NOW - 5000, false), (NOW - 6000, true)];
        let said = told_by([
            Some(past_jobs(&lavita)),
            Some(past_jobs(&[past_job(NOW - 30, "errored")])),
            Some(encoder(&json!(0.841), &video)),
        ]);
        let jobs = Jobs {
            done: 2,
            failed: 3,
            failed_in_a_row: 2,
            last: Some(NOW - 20),
        };
        let wanted = Earnings {
            pending_tfuel: Some(0.841),
            jobs: Some(jobs),
            last_vote: None,
        };
        assert_eq!(said, wanted);
    }

    #[test]
    fn what_is_not_answered_is_unknown_and_never_zero() {
        assert_eq!(told_by([None, None, None]), Earnings::default());
        for value in [
            json!(null),
            json!([]),
            json!("ok"),
            json!({}),
            json!({"pending_tfuel": null, "recent_jobs": null}),
            json!({"pending_tfuel": {}, "recent_jobs": {}}),
            json!({"pending_tfuel": -1, "recent_jobs": 7}),
            json!({"pending_tfuel": "NaN", "recent_jobs": "none"}),
            json!({"pending_tfuel": 1e300}),
        ] {
            let told = told_by([None, None, Some(value.clone())]);
            assert_eq!(told, Earnings::default(), "{value}");
        }
        // An empty list is an answer.
        let idle = told_by([Some(past_jobs(&[])), None, None]);
        assert_eq!(idle.jobs, Some(Jobs::default()));
    }

    #[test]
    fn a_job_without_a_time_that_can_be_is_not_counted() {
        for (end, done) in [
            (json!((NOW - 9) * 1000), 1),
            (json!(NOW - 9), 1),
            (json!((NOW - 9).to_string()), 1),
            (json!("2023-11-14T22:13:00Z"), 1),
            // Fourteen digits, as in the documentation.
            (json!(16_999_999_000_000_i64), 0),
            (json!(NOW + 301), 0),
            (json!(0), 0),
            (json!(-5), 0),
            (json!(1.5), 0),
            (json!(""), 0),
            (json!(null), 0),
            (json!({}), 0),
        ] {
            let job = json!({"end_time": end, "status": "completed"});
            let told = told_by([Some(past_jobs(&[job])), None, None]);
            assert_eq!(told.jobs.unwrap().done, done, "{end}");
        }
    }

    #[test]
    fn the_last_vote_is_read_from_the_log() {
        let vote = shipped().vote.unwrap();
        // As published by users.
        let line = |time: &str| {
            format!(
                "[2023-11-14 22:00:26]  INFO [uptime miner] Broadcasted vote: EENVote{{Block: 0x6d0a, Height: 11759001, \
                 Address: 0x8d25fa2e7d, Signature: E1A0, CreationTimestamp: {time}}}\n"
            )
        };
        let log = format!(
            "{}{}[x] INFO [p2p] numPeers: 16\n",
            line("1699999000"),
            line("1699999600")
        );
        assert_eq!(voted(&log, &vote, NOW), Some(1_699_999_600));
        for strange in ["1800000000", "", "-1", "99999999999999999999999"] {
            assert_eq!(voted(&line(strange), &vote, NOW), None, "{strange}");
        }
        assert_eq!(voted("nothing of it", &vote, NOW), None);
    }
}
