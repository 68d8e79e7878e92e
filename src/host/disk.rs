//! Block devices: found by EBS volume id, probed for every signature, formatted, grown.

mod filesystem;
mod probe;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

pub use filesystem::Kind;
pub use probe::{Contents, Finding, parse_wipefs};

use super::Host;
use crate::error::{Error, Result};
use crate::log::printable;

/// NVMe model number of instance store disks (EC2 guide, block-device-mapping-concepts).
const INSTANCE_STORE: &str = "Amazon EC2 NVMe Instance Storage";

const LOOK: &str = "look at the device (`lsblk`, `dmesg`), then run `bootstrap` again";

/// Id of an EBS volume, `vol-` and 8 to 17 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeId(String);

impl VolumeId {
    /// Parses the id; any other text is an error.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("vol-").unwrap_or_default();
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if (8..=17).contains(&digits.len()) && digits.chars().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(
                format!("`{}` is not an EBS volume id", printable(text)),
                "set volume.id in the config to an id like vol-0123456789abcdef0",
            ))
        }
    }

    /// As EC2 writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The NVMe serial of the volume: its id without the hyphen (EC2 guide, nvme-ebs-volumes).
    fn serial(&self) -> String {
        self.0.replace('-', "")
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A whole block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its node, e.g. `/dev/nvme1n1`. NVMe names change between boots: never keep one.
    pub path: String,
    /// `major:minor`.
    pub number: String,
    /// Size in bytes.
    pub size: u64,
    /// Its directory in sysfs.
    pub(super) sysfs: String,
}

impl Host {
    /// The device of the EBS volume, or `None` while it is not attached. Found by id only: names, sizes and order
    /// say nothing about which disk is which.
    pub fn volume_device(&self, id: &VolumeId) -> Result<Option<Device>> {
        let serial = id.serial();
        let link = format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}");
        if let Some(device) = self.device(&self.resolve(&link)?)? {
            // Stale or wrong links have been seen (amazonlinux/amazon-ec2-utils#37).
            return match self.device_attribute(&device, "device/serial")? {
                Some(other) if !is_serial(&other, &serial) => Err(Error::new(
                    format!(
                        "{link} leads to {}, whose serial is {}",
                        device.path,
                        printable(&other)
                    ),
                    "renew the links with `udevadm trigger --subsystem-match=block`, then run `bootstrap` again",
                )),
                _ => Ok(Some(device)),
            };
        }
        let found = self.nvme_disks_with("serial", |found| is_serial(found, &serial))?;
        found.first().map_or(Ok(None), |path| self.device(path))
    }

    /// The Xen disk that a volume attached as `name` (`/dev/sdf`, `xvdf`) appears as, or any other non-root disk:
    /// kernels shift the letters (`sdf` becomes `xvdj`). It has no id: nothing on the machine says which volume it is.
    pub fn xen_disk(&self, name: &str) -> Option<String> {
        let letters = name.trim_start_matches("/dev/");
        let letters = letters
            .strip_prefix("xvd")
            .or_else(|| letters.strip_prefix("sd"))?;
        let is_plain = !letters.is_empty() && letters.bytes().all(|c| c.is_ascii_alphanumeric());
        let disk = format!("xvd{letters}");
        if is_plain && self.path(format!("/sys/class/block/{disk}")).exists() {
            return Some(format!("/dev/{disk}"));
        }
        let names = self.names_in("/sys/class/block").ok()?;
        let is_other = |name: &&String| {
            name.strip_prefix("xvd")
                .is_some_and(|rest| rest != "a" && rest.bytes().all(|c| c.is_ascii_lowercase()))
        };
        names
            .iter()
            .find(is_other)
            .map(|name| format!("/dev/{name}"))
    }

    /// The instance store disk (NVMe); `None` if there is none, an error if there are several.
    pub fn instance_store_device(&self) -> Result<Option<Device>> {
        let found = self.nvme_disks_with("model", |model| model == INSTANCE_STORE)?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => self.device(one),
            several => Err(Error::new(
                format!(
                    "the instance has several instance store disks: {}",
                    several.join(", ")
                ),
                "choose an instance type with one instance store disk, or an EBS volume (volume.kind `ebs`)",
            )),
        }
    }

    /// The block device behind the node at `path`; `None` if there is no such node.
    fn device(&self, path: &str) -> Result<Option<Device>> {
        let Some(number) = self.device_number(path)? else {
            return Ok(None);
        };
        let name = path.rsplit('/').next().unwrap_or_default();
        let sysfs = self.sysfs_of(&number, name)?;
        let size = self
            .attribute(&sysfs, "size")?
            .and_then(|sectors| sectors.parse::<u64>().ok())
            .filter(|sectors| *sectors > 0)
            .ok_or_else(|| Error::new(format!("{path} has no size"), LOOK))?;
        Ok(Some(Device {
            path: path.to_owned(),
            number,
            // The kernel counts 512-byte sectors, whatever the device's own sector size.
            size: size * 512,
            sysfs,
        }))
    }

    /// `major:minor` of the block device node at `path`; `None` if there is no such node. In a test's tree, where the
    /// node is a regular file, taken from sysfs by device name.
    fn device_number(&self, path: &str) -> Result<Option<String>> {
        let node = match fs::metadata(self.path(path)) {
            Ok(node) => node,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::new(format!("cannot look at {path}"), LOOK).because(error));
            }
        };
        if node.file_type().is_block_device() {
            let (major, minor) = (
                rustix::fs::major(node.rdev()),
                rustix::fs::minor(node.rdev()),
            );
            return Ok(Some(format!("{major}:{minor}")));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        let number = if self.is_real() {
            None
        } else {
            self.attribute(&format!("/sys/class/block/{name}"), "dev")?
        };
        number
            .map(Some)
            .ok_or_else(|| Error::new(format!("{path} is not a block device"), LOOK))
    }

    /// The device's directory in sysfs. By number first: in a container, the node may have another device's name.
    fn sysfs_of(&self, number: &str, name: &str) -> Result<String> {
        let places = [
            format!("/sys/dev/block/{number}"),
            format!("/sys/class/block/{name}"),
        ];
        for place in places {
            if self.attribute(&place, "dev")?.as_deref() == Some(number) {
                return Ok(place);
            }
        }
        Err(Error::new(
            format!("sysfs does not know the block device {number} ({name})"),
            LOOK,
        ))
    }

    /// Paths of the NVMe disks whose controller's attribute has a wanted value.
    fn nvme_disks_with(
        &self,
        attribute: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>> {
        const CLASS: &str = "/sys/class/block";
        let mut found = Vec::new();
        for name in self.names_in(CLASS)? {
            if is_nvme_disk(&name)
                && self
                    .attribute(&format!("{CLASS}/{name}"), &format!("device/{attribute}"))?
                    .is_some_and(|value| is_wanted(&value))
            {
                found.push(format!("/dev/{name}"));
            }
        }
        Ok(found)
    }

    fn device_attribute(&self, device: &Device, name: &str) -> Result<Option<String>> {
        self.attribute(&device.sysfs, name)
    }

    /// An attribute in sysfs; NVMe pads serial and model number with spaces.
    fn attribute(&self, directory: &str, name: &str) -> Result<Option<String>> {
        let text = self.read_others(&format!("{directory}/{name}"))?;
        Ok(text.map(|text| text.trim().to_owned()))
    }

    /// Resolves symbolic links as the machine would see them, even in a test's tree.
    fn resolve(&self, path: &str) -> Result<String> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            match fs::read_link(self.path(&path)) {
                Ok(target) => path = join(&path, &target),
                // Not a link, or nothing there: fully resolved.
                Err(_) => return Ok(path),
            }
        }
        Err(Error::new(
            format!("{path} is a chain of too many links"),
            LOOK,
        ))
    }
}

/// The volume's serial, with or without the hyphen of its id.
fn is_serial(found: &str, serial: &str) -> bool {
    found.replace('-', "") == serial
}

/// `nvme1n1`, `nvme1n2`: a controller's namespace, not a partition (`…p1`) or hidden path (`nvme1c0n1`) of one.
fn is_nvme_disk(name: &str) -> bool {
    let is_number =
        |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    name.strip_prefix("nvme")
        .and_then(|rest| rest.split_once('n'))
        .is_some_and(|(controller, namespace)| is_number(controller) && is_number(namespace))
}

/// The path that the link at `link` with this `target` leads to.
fn join(link: &str, target: &Path) -> String {
    let mut path = PathBuf::from("/");
    let directory = Path::new(link).parent().unwrap_or(Path::new("/"));
    for part in directory.join(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    const BY_ID: &str = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc1234";

    fn id() -> VolumeId {
        VolumeId::parse("vol-0abc1234").unwrap()
    }

    fn link(tree: &Tree, to: &str) {
        let link = tree.host.path(BY_ID);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, link).unwrap();
    }

    #[test]
    fn volume_ids_are_exact() {
        for good in ["vol-0abc1234", "vol-0123456789abcdef0"] {
            assert_eq!(VolumeId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "vol-",
            "vol-0abc123",
            "vol-0ABC1234",
            "vol-0123456789abcdef01",
            "vol-../../../x",
            "0abc1234",
        ] {
            let error = VolumeId::parse(bad).unwrap_err();
            assert_eq!(error.reason(), format!("`{bad}` is not an EBS volume id"));
        }
    }

    #[test]
    fn a_volume_is_found_by_its_link_relative_or_absolute() {
        for to in ["../../nvme1n1", "/dev/nvme1n1"] {
            let tree = Tree::new();
            tree.disk("nvme1n1", "259:3", 1 << 20);
            link(&tree, to);
            let device = tree.host.volume_device(&id()).unwrap().unwrap();
            assert_eq!(device.path, "/dev/nvme1n1");
            assert_eq!(device.number, "259:3");
            assert_eq!(device.size, 1 << 20);
        }
    }

    #[test]
    fn without_a_link_the_serial_decides_not_order_or_name() {
        let tree = Tree::new();
        tree.disk("nvme0n1", "259:0", 1 << 20);
        tree.disk("nvme2n2", "259:3", 1 << 20);
        assert_eq!(tree.host.volume_device(&id()).unwrap(), None);
        tree.file(
            "/sys/class/block/nvme0n1/device/serial",
            "vol0ffffffff      \n",
        );
        tree.file(
            "/sys/class/block/nvme2n2/device/serial",
            "vol0abc1234       \n",
        );
        // Partitions and hidden multipath nodes show their disk's serial too.
        tree.file("/sys/class/block/nvme2n2p1/device/serial", "vol0abc1234\n");
        tree.file("/sys/class/block/nvme2c0n2/device/serial", "vol0abc1234\n");
        let device = tree.host.volume_device(&id()).unwrap().unwrap();
        assert_eq!(device.path, "/dev/nvme2n2");
    }

    #[test]
    fn a_link_to_nothing_is_no_device_yet() {
        let tree = Tree::new();
        link(&tree, "../../nvme1n1");
        assert_eq!(tree.host.volume_device(&id()).unwrap(), None);
    }

    #[test]
    fn a_link_to_another_disk_is_refused() {
        let tree = Tree::new();
        tree.disk("nvme1n1", "259:3", 1 << 20);
        tree.file("/sys/class/block/nvme1n1/device/serial", "vol0ffffffff\n");
        link(&tree, "../../nvme1n1");
        assert_eq!(
            tree.host.volume_device(&id()).unwrap_err().reason(),
            format!("{BY_ID} leads to /dev/nvme1n1, whose serial is vol0ffffffff")
        );
    }

    #[test]
    fn what_is_no_block_device_or_has_no_size_is_refused() {
        let tree = Tree::new();
        tree.file("/dev/nvme1n1", "");
        link(&tree, "../../nvme1n1");
        let error = tree.host.volume_device(&id()).unwrap_err();
        assert_eq!(error.reason(), "/dev/nvme1n1 is not a block device");
        tree.disk("nvme1n1", "259:3", 0);
        let error = tree.host.volume_device(&id()).unwrap_err();
        assert_eq!(error.reason(), "/dev/nvme1n1 has no size");
    }

    #[test]
    fn sysfs_is_asked_by_number_not_by_the_node_s_name() {
        let tree = Tree::new();
        tree.disk("nvme1n1", "259:3", 1 << 20);
        tree.file("/sys/dev/block/259:3/dev", "259:3\n");
        tree.file("/sys/dev/block/259:3/size", "8\n");
        link(&tree, "../../nvme1n1");
        assert_eq!(tree.host.volume_device(&id()).unwrap().unwrap().size, 4096);
    }

    #[test]
    fn instance_store_is_told_by_model_and_must_be_one() {
        let tree = Tree::new();
        for name in ["nvme0n1", "nvme1n1", "nvme2n1"] {
            tree.disk(name, &format!("259:{name}"), 1 << 20);
        }
        let model = |name: &str, model: &str| {
            tree.file(&format!("/sys/class/block/{name}/device/model"), model);
        };
        model("nvme0n1", "Amazon Elastic Block Store              \n");
        assert_eq!(tree.host.instance_store_device().unwrap(), None);
        model("nvme1n1", "Amazon EC2 NVMe Instance Storage        \n");
        let device = tree.host.instance_store_device().unwrap().unwrap();
        assert_eq!(device.path, "/dev/nvme1n1");
        model("nvme2n1", "Amazon EC2 NVMe Instance Storage        \n");
        assert_eq!(
            tree.host.instance_store_device().unwrap_err().reason(),
            "the instance has several instance store disks: /dev/nvme1n1, /dev/nvme2n1"
        );
    }
}
