//! What `nvidia-smi` reports about the machine's GPUs.

use std::time::Duration;

use super::Host;
use super::command::Output;
use crate::log::printable;

/// Its exit code if all is well except a GPU's infoROM, about which it prints a warning amid its output
/// (`man nvidia-smi`, "Return value"; NVIDIA/gpu-operator#285).
const INFOROM_CORRUPTED: i32 = 14;

/// One GPU as nvidia-smi reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// `Tesla T4`
    pub name: String,
    /// Version of the driver: `580.159.03`.
    pub driver: String,
    /// Whether the driver's persistence mode is on; `None` if the GPU has no such mode (`[N/A]`, a virtual one).
    pub persistent: Option<bool>,
}

impl Host {
    /// The GPUs that the driver sees, or what nvidia-smi says instead. A GPU that does not answer is an error.
    pub async fn nvidia_cards(&self) -> Result<Vec<Card>, String> {
        let query = [
            "--query-gpu=name,driver_version,persistence_mode",
            "--format=csv,noheader",
        ];
        let command = self.command("nvidia-smi").args(query).looks();
        // Not installed, or it hangs.
        let output = command.timeout(Duration::from_secs(30)).output().await;
        let output = output.map_err(|error| error.to_string())?;
        if !works(&output) {
            // It reports its failures on standard output.
            let (said, more) = (output.stdout.trim(), output.stderr.trim());
            let said = printable(&format!("{said} {more}"));
            return Err(format!("nvidia-smi does not work: {said}"));
        }
        if let Some(warning) = warning(&output) {
            tracing::warn!("nvidia-smi: {warning}");
        }
        cards(&output.stdout)
    }
}

/// Whether nvidia-smi did what it was asked to, if only with a warning.
pub fn works(output: &Output) -> bool {
    matches!(output.code, 0 | INFOROM_CORRUPTED)
}

/// What nvidia-smi warns of although it succeeded.
pub fn warning(output: &Output) -> Option<String> {
    let lines = output.stdout.lines().chain(output.stderr.lines());
    let warned: Vec<&str> = lines
        .map(str::trim)
        .filter(|line| line.starts_with("WARNING:"))
        .collect();
    (!warned.is_empty()).then(|| printable(&warned.join("; ")))
}

/// Why a GPU refused persistence mode, which nvidia-smi does not report as a failure: "Unable to set persistence mode
/// for GPU …: Not Supported", "Persistence mode is not supported for …", "Treating as warning and moving on."
pub fn kept_off(output: &Output) -> Option<String> {
    let mut lines = output.stdout.lines().chain(output.stderr.lines());
    let line = lines.find(|line| {
        line.starts_with("Unable to set persistence mode")
            || line.contains("ersistence mode is not supported")
    })?;
    Some(printable(line))
}

/// Lines such as `Tesla T4, 580.159.03, Enabled`. A value that is not available is replaced by `[N/A]`,
/// `[Not Supported]`, `[Unknown Error]`, `[GPU is lost]` or `ERR!`.
pub fn cards(csv: &str) -> Result<Vec<Card>, String> {
    let mut cards = Vec::new();
    for line in csv.lines() {
        let mut fields = line.rsplitn(3, ',').map(str::trim);
        let (Some(persistence), Some(driver), Some(name)) =
            (fields.next(), fields.next(), fields.next())
        else {
            // A warning, or "No devices were found".
            continue;
        };
        let is_version = driver.starts_with(|c: char| c.is_ascii_digit());
        if !is_version || name.starts_with('[') || name == "ERR!" {
            return Err(format!("nvidia-smi reports for a GPU: {}", printable(line)));
        }
        cards.push(Card {
            name: printable(name),
            driver: printable(driver),
            persistent: match persistence {
                "Enabled" => Some(true),
                "Disabled" => Some(false),
                _ => None,
            },
        });
    }
    Ok(cards)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    fn card(name: &str, driver: &str, persistent: Option<bool>) -> Card {
        Card {
            name: name.into(),
            driver: driver.into(),
            persistent,
        }
    }

    #[test]
    fn reads_every_line_that_nvidia_smi_writes() {
        let cases = [
            (
                "Tesla T4, 580.159.03, Enabled\n",
                vec![card("Tesla T4", "580.159.03", Some(true))],
            ),
            (
                "NVIDIA A10G, 535.261.03, Disabled\nNVIDIA A10G, 535.261.03, Enabled\n",
                vec![
                    card("NVIDIA A10G", "535.261.03", Some(false)),
                    card("NVIDIA A10G", "535.261.03", Some(true)),
                ],
            ),
            (
                "GRID T4-4Q, 550.54, [N/A]\n",
                vec![card("GRID T4-4Q", "550.54", None)],
            ),
            (
                "Tesla M4, 470.1, [Not Supported]\n",
                vec![card("Tesla M4", "470.1", None)],
            ),
            ("No devices were found\n", vec![]),
            ("", vec![]),
            (
                "Tesla T4, 580.1, Enabled\nWARNING: infoROM is corrupted at gpu 0000:00:1E.0\n",
                vec![card("Tesla T4", "580.1", Some(true))],
            ),
        ];
        for (csv, wanted) in cases {
            assert_eq!(cards(csv).unwrap(), wanted, "{csv}");
        }
    }

    #[test]
    fn a_gpu_that_does_not_answer_is_no_gpu() {
        for line in [
            "ERR!, 580.159.03, Enabled",
            "[Unknown Error], 580.159.03, [Unknown Error]",
            "[GPU is lost], [GPU is lost], [GPU is lost]",
            "Tesla T4, [N/A], Enabled",
        ] {
            let csv = format!("Tesla T4, 580.159.03, Enabled\n{line}\n");
            assert_eq!(
                cards(&csv).unwrap_err(),
                format!("nvidia-smi reports for a GPU: {line}")
            );
        }
    }

    #[tokio::test]
    async fn only_a_worn_inforom_is_no_failure() {
        for (code, wanted) in [
            (14, Ok(vec![card("Tesla T4", "580.1", Some(true))])),
            (
                15,
                Err("nvidia-smi does not work: Tesla T4, 580.1, Enabled GPU is lost".to_owned()),
            ),
        ] {
            let tree = Tree::new();
            let script =
                format!("echo Tesla T4, 580.1, Enabled; echo GPU is lost >&2; exit {code}");
            tree.tool("nvidia-smi", &script);
            assert_eq!(tree.host.nvidia_cards().await, wanted, "{code}");
        }
    }
}
