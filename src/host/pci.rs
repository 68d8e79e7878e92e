//! PCI devices: is there an NVIDIA GPU, and which?

use super::Host;
use crate::error::{OrFail, Result};

/// An NVIDIA GPU on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// PCI address: `0000:00:1e.0`.
    pub address: String,
    /// PCI device id, e.g. `0x1eb8`.
    pub device: u16,
    /// PCI subsystem device id.
    pub subsystem: u16,
}

/// Whether the open kernel modules support a GPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    /// In the open kernel modules' list of devices.
    Open,
    /// Older than Turing: the open kernel modules do not support it, and driver 620 drops the others (driver guide).
    BeforeTuring,
}

use Support::{BeforeTuring, Open};

type Model = (u16, &'static str, Support);

/// GPU models of EC2's instance types: PCI device id, name, instance family.
/// Ids from amazon-eks-ami nvidia-open-supported-devices-580.txt and pci-ids.ucw.cz.
const MODELS: &[Model] = &[
    (0x1eb8, "Tesla T4 (g4dn)", Open),
    (0x2237, "A10G (g5)", Open),
    (0x27b8, "L4 (g6)", Open),
    (0x26b9, "L40S (g6e)", Open),
    (0x20b0, "A100 40 GB (p4d)", Open),
    (0x20b2, "A100 80 GB (p4de)", Open),
    (0x2330, "H100 (p5)", Open),
    (0x2335, "H200 (p5en)", Open),
    (0x102d, "Tesla K80 (p2)", BeforeTuring),
    (0x13f2, "Tesla M60 (g3)", BeforeTuring),
    (0x1db1, "Tesla V100 16 GB (p3)", BeforeTuring),
    (0x1db5, "Tesla V100 32 GB (p3dn)", BeforeTuring),
];

/// An L4 with one of these subsystem ids is a fraction of a card (gr6f, g6f), which only the GRID driver supports
/// (amazon-ecs-ami nvidia-kmod-load.sh).
const FRACTIONAL_L4: (u16, [u16; 3]) = (0x27b8, [0x1733, 0x1735, 0x1737]);

impl Gpu {
    /// The model's name, or its PCI id if this program does not know it.
    pub fn name(&self) -> String {
        match MODELS.iter().find(|(device, ..)| *device == self.device) {
            Some((_, name, _)) => (*name).into(),
            None => format!("NVIDIA device 10de:{:04x}", self.device),
        }
    }

    /// Why the driver in the systems' repositories, with open modules or not, does not support it, if so. An unknown
    /// model may be too new for the table: then the driver itself decides.
    pub fn unsupported(&self, open_modules: bool) -> Option<String> {
        let (device, fractions) = FRACTIONAL_L4;
        if self.device == device && fractions.contains(&self.subsystem) {
            return Some("a fraction of an L4 needs NVIDIA's GRID driver".into());
        }
        let is_old = |model: &Model| model.0 == self.device && model.2 == BeforeTuring;
        (open_modules && MODELS.iter().any(is_old))
            .then(|| "it is older than Turing, which the open kernel modules need".into())
    }
}

impl Host {
    /// The machine's NVIDIA GPUs, in the order of their PCI addresses.
    pub fn nvidia_gpus(&self) -> Result<Vec<Gpu>> {
        const DEVICES: &str = "/sys/bus/pci/devices";
        let entries = match std::fs::read_dir(self.path(DEVICES)) {
            Ok(entries) => entries,
            // A machine without PCI has no such directory.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).or_fail(
                    || format!("cannot list {DEVICES}"),
                    "check that /sys is mounted",
                );
            }
        };
        let mut gpus = Vec::new();
        for entry in entries.flatten() {
            let address = entry.file_name().to_string_lossy().into_owned();
            let id = |name: &str| -> Result<u32> {
                let text = self.read_others(&format!("{DEVICES}/{address}/{name}"))?;
                Ok(text.and_then(|text| hex(&text)).unwrap_or(0))
            };
            // Class 03 is a display controller; a card's sound and USB functions have others.
            if id("vendor")? == 0x10de && id("class")? >> 16 == 0x03 {
                gpus.push(Gpu {
                    device: u16::try_from(id("device")?).unwrap_or(0),
                    subsystem: u16::try_from(id("subsystem_device")?).unwrap_or(0),
                    address,
                });
            }
        }
        gpus.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(gpus)
    }
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    #[test]
    fn finds_gpus_and_nothing_else() {
        let tree = Tree::new();
        assert_eq!(tree.host.nvidia_gpus().unwrap(), []);
        let devices = [
            ("0000:00:1f.0", "0x1d0f", "0x8061", "0x010802", "0x0000"), // EBS
            ("0000:00:1e.0", "0x10de", "0x1eb8", "0x030200", "0x12a2"), // T4
            ("0000:00:1e.1", "0x10de", "0x10f8", "0x040300", "0x12a2"), // its sound
            ("0000:00:1d.0", "0x10de", "0x27b8", "0x030200", "0x1733"),
        ];
        for (address, vendor, device, class, subsystem) in devices {
            for (name, value) in [
                ("vendor", vendor),
                ("device", device),
                ("class", class),
                ("subsystem_device", subsystem),
            ] {
                tree.file(
                    &format!("/sys/bus/pci/devices/{address}/{name}"),
                    format!("{value}\n"),
                );
            }
        }
        let gpus = tree.host.nvidia_gpus().unwrap();
        let names: Vec<_> = gpus.iter().map(Gpu::name).collect();
        assert_eq!(names, ["L4 (g6)", "Tesla T4 (g4dn)"]);
        assert_eq!(
            gpus[0].unsupported(false).unwrap(),
            "a fraction of an L4 needs NVIDIA's GRID driver"
        );
        assert_eq!(gpus[1].unsupported(true), None);
    }

    #[test]
    fn old_models_are_refused_and_unknown_ones_tried() {
        let gpu = |device| Gpu {
            address: String::new(),
            device,
            subsystem: 0,
        };
        assert_eq!(
            gpu(0x1db1).unsupported(true).unwrap(),
            "it is older than Turing, which the open kernel modules need"
        );
        assert_eq!(gpu(0x1db1).unsupported(false), None);
        assert_eq!(
            (gpu(0x2bb5).unsupported(true), gpu(0x2bb5).name().as_str()),
            (None, "NVIDIA device 10de:2bb5")
        );
        assert_eq!(gpu(0x27b8).unsupported(true), None);
    }
}
