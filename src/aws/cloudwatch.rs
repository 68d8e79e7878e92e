//! CloudWatch: the node's own metrics.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_types::SdkConfig;

use super::refusal::{Trouble, trouble};
use crate::error::Result;

/// Most metrics that one PutMetricData call accepts.
const AT_ONCE: usize = 1000;

/// One value of one metric, now.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Metric name.
    pub name: String,
    /// The value; one that is not a finite number is left out.
    pub value: f64,
    /// CloudWatch unit: `Count`, `Percent`, `Seconds`, `Bytes`, `None`, …
    pub unit: &'static str,
    /// Dimension names and values, at most 30. Each set is a billed metric of its own.
    pub dimensions: Vec<(String, String)>,
}

/// Publishes the metrics: one call for up to 1,000 of them, none if there are none.
pub async fn put_metrics(aws: &SdkConfig, namespace: &str, metrics: Vec<Metric>) -> Result<()> {
    let data: Vec<MetricDatum> = metrics
        .into_iter()
        .filter(|metric| metric.value.is_finite())
        .map(datum)
        .collect();
    let client = Client::new(aws);
    for chunk in data.chunks(AT_ONCE) {
        let call = client
            .put_metric_data()
            .namespace(namespace)
            .set_metric_data(Some(chunk.to_vec()));
        call.send()
            .await
            .map_err(|error| match trouble("PutMetricData", &error) {
                Trouble::Refused(refusal) => {
                    refusal.into_error("PutMetricData", "cloudwatch:PutMetricData")
                }
                Trouble::Silent(error) => error,
            })?;
    }
    Ok(())
}

fn datum(metric: Metric) -> MetricDatum {
    let dimensions = metric
        .dimensions
        .into_iter()
        .map(|(name, value)| Dimension::builder().name(name).value(value).build())
        .collect();
    MetricDatum::builder()
        .metric_name(metric.name)
        .value(metric.value)
        .unit(StandardUnit::from(metric.unit))
        .set_dimensions(Some(dimensions))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tests::config;
    use standins::scripted::{Reply, script, serve};

    fn metrics(count: usize) -> Vec<Metric> {
        let metric = |n| Metric {
            name: format!("m{n}"),
            value: 1.5,
            unit: "Count",
            dimensions: vec![("InstanceId".into(), "i-1".into())],
        };
        (0..count).map(metric).collect()
    }

    #[tokio::test]
    async fn a_thousand_go_in_one_call_and_nothing_in_none() {
        for (count, calls) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            let server = script(vec![(200, "{}")]);
            put_metrics(&config(&server.url).await, "CWAgent", metrics(count))
                .await
                .unwrap();
            assert_eq!(server.received().len(), calls, "{count}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_number_is_left_out() {
        let server = script(vec![(200, "{}")]);
        let mut metrics = metrics(2);
        metrics[0].value = f64::NAN;
        put_metrics(&config(&server.url).await, "CWAgent", metrics)
            .await
            .unwrap();
        let body = server.received()[0].text();
        assert!(body.contains("m1") && !body.contains("m0"), "{body}");
    }

    #[tokio::test]
    async fn a_missing_permission_is_named() {
        // The SDK speaks CBOR with CloudWatch: {"__type": "AccessDenied", "message": "not authorized"}.
        let body = b"\xa2\x66__type\x6cAccessDenied\x67message\x6enot authorized";
        let server = serve(move |_| {
            Reply::new(403, body.to_vec())
                .header("smithy-protocol", "rpc-v2-cbor")
                .header("content-type", "application/cbor")
        });
        let error = put_metrics(&config(&server.url).await, "CWAgent", metrics(1))
            .await
            .unwrap_err();
        assert_eq!(
            (error.reason(), error.hint()),
            (
                "PutMetricData was refused (AccessDenied: not authorized)",
                "allow cloudwatch:PutMetricData in the policy of the instance's role"
            )
        );
    }
}
