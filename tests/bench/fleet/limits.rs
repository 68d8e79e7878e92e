//! AWS's request limits as token buckets: each call takes a token, and each second brings new ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one API grants per account and region.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Limit {
    /// Most calls at once.
    pub capacity: f64,
    /// Calls that each second adds.
    pub refill: f64,
}

/// Names of APIs and what they grant.
pub type Limits = BTreeMap<String, Limit>;

/// What a call of DescribeVolumes with neither a filter nor pages counts against.
pub const UNFILTERED: &str = "DescribeVolumes without a filter";

fn limits(of: &[(&str, f64, f64)]) -> Limits {
    let limit =
        |&(api, capacity, refill): &(&str, f64, f64)| (api.to_owned(), Limit { capacity, refill });
    of.iter().map(limit).collect()
}

/// As AWS publishes them. EC2: "Request throttling for the Amazon EC2 API" (AttachVolume has no line of its own, so it
/// is one of the mutating actions). S3: "Best practices design patterns" (per prefix). Secrets Manager and CloudWatch:
/// their default quotas. The wait handle is an object that is put into S3. For SignalResource CloudFormation publishes
/// nothing: assumed are those of EC2's mutating actions.
pub fn published() -> Limits {
    limits(&[
        ("AttachVolume", 50.0, 5.0),
        ("DescribeVolumes", 100.0, 20.0),
        (UNFILTERED, 50.0, 10.0),
        ("GetObject", 5_500.0, 5_500.0),
        ("GetSecretValue", 10_000.0, 10_000.0),
        ("PutMetricData", 500.0, 500.0),
        ("SignalResource", 50.0, 5.0),
        ("wait-handle", 3_500.0, 3_500.0),
    ])
}

/// So small that a few dozen nodes meet every one of them.
pub fn small() -> Limits {
    limits(&[
        ("AttachVolume", 2.0, 2.0),
        ("DescribeVolumes", 4.0, 8.0),
        (UNFILTERED, 2.0, 4.0),
        ("GetObject", 30.0, 30.0),
        ("GetSecretValue", 20.0, 20.0),
        ("PutMetricData", 30.0, 30.0),
        ("SignalResource", 1.0, 2.0),
        ("wait-handle", 20.0, 20.0),
    ])
}

/// The buckets, full at first.
pub struct Buckets {
    limits: Limits,
    /// Tokens, and when they were counted (s).
    tokens: BTreeMap<String, (f64, f64)>,
}

impl Buckets {
    pub fn new(limits: Limits) -> Self {
        let tokens = limits
            .iter()
            .map(|(api, limit)| (api.clone(), (limit.capacity, 0.0)));
        Self {
            tokens: tokens.collect(),
            limits,
        }
    }

    /// Whether the call that comes at second `now` is granted. An API without a limit always is.
    pub fn take(&mut self, api: &str, now: f64) -> bool {
        let (Some(limit), Some((tokens, counted))) =
            (self.limits.get(api), self.tokens.get_mut(api))
        else {
            return true;
        };
        let fresh = (now - *counted).max(0.0) * limit.refill;
        *tokens = (*tokens + fresh).min(limit.capacity);
        *counted = now.max(*counted);
        let granted = *tokens >= 1.0;
        *tokens -= f64::from(u8::from(granted));
        granted
    }
}

#[test]
fn a_bucket_grants_its_capacity_at_once_and_then_what_each_second_brings() {
    let mut buckets = Buckets::new(limits(&[("a", 3.0, 2.0)]));
    let mut granted = |now| (0..9).filter(|_| buckets.take("a", now)).count();
    assert_eq!(
        [0.0, 0.0, 0.4, 1.0, 99.0].map(&mut granted),
        [3, 0, 0, 2, 3]
    );
    assert!(buckets.take("b", 0.0));
}
