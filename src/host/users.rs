//! Accounts and groups, read from /etc/passwd and /etc/group.

use super::Host;
use crate::error::{Error, Result};

/// A line of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Id of the primary group.
    pub gid: u32,
}

/// A line of /etc/group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Group name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Names of those who have it as a supplementary group.
    pub members: Vec<String>,
}

/// What an account still lacks to be as wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Its primary group does not exist.
    pub group: bool,
    /// The account does not exist.
    pub account: bool,
    /// It is not a member of the supplementary group.
    pub membership: bool,
}

impl Missing {
    /// Whether nothing is missing.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Host {
    /// What `wanted` and its membership in the group `also` still lack. A name or id that belongs to someone else is an
    /// error: changing it would give them our files, or us theirs.
    pub fn account_missing(&self, wanted: &Account, also: Option<&str>) -> Result<Missing> {
        let accounts = self.accounts()?;
        let groups = self.groups()?;
        let group = group_missing(&groups, wanted)?;
        let account = account_missing(&accounts, wanted)?;
        let membership = also.is_some_and(|also| !has_member(&groups, also, &wanted.name));
        Ok(Missing {
            group,
            account,
            membership,
        })
    }

    /// Whether the account has the group as a supplementary one.
    pub fn is_member(&self, account: &str, group: &str) -> Result<bool> {
        Ok(has_member(&self.groups()?, group, account))
    }

    /// Takes the account out of a supplementary group.
    pub async fn leave_group(&self, account: &str, group: &str) -> Result<()> {
        let leaving = self.command("gpasswd").args(["--delete", account, group]);
        leaving.run().await.map(drop)
    }

    /// Creates what is missing: the group named after the account, the account with a home, the membership.
    pub async fn create_account(
        &self,
        wanted: &Account,
        also: Option<&str>,
        missing: Missing,
    ) -> Result<()> {
        let groups = self.groups()?;
        if let Some(also) = also
            && !groups.iter().any(|group| group.name == also)
        {
            return Err(Error::new(
                format!("there is no group `{also}` on this machine"),
                "run `bootstrap --phase docker`: the Docker package brings the group",
            ));
        }
        let (uid, gid) = (wanted.uid.to_string(), wanted.gid.to_string());
        if missing.group {
            let group = self.command("groupadd");
            group.args(["--gid", &gid, &wanted.name]).run().await?;
        }
        if missing.account {
            let mut account = self
                .command("useradd")
                .args(["--uid", &uid, "--gid", &gid, "--create-home"])
                .args(["--shell", "/bin/bash"]);
            if let Some(also) = also {
                account = account.args(["--groups", also]);
            }
            account.arg(&wanted.name).run().await?;
        } else if let Some(also) = also.filter(|_| missing.membership) {
            let membership = self.command("usermod");
            membership
                .args(["--append", "--groups", also, &wanted.name])
                .run()
                .await?;
        }
        Ok(())
    }

    fn accounts(&self) -> Result<Vec<Account>> {
        self.lines_of("/etc/passwd", parse_account)
    }

    fn groups(&self) -> Result<Vec<Group>> {
        self.lines_of("/etc/group", parse_group)
    }

    fn lines_of<T>(&self, path: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let text = self.read_others(path)?.ok_or_else(|| {
            Error::new(
                format!("{path} does not exist"),
                format!("restore {path} (a backup is {path}-)"),
            )
        })?;
        Ok(text.lines().filter_map(parse).collect())
    }
}

/// `name:password:uid:gid:comment:home:shell`
pub fn parse_account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    Some(Account {
        name: fields.next()?.to_owned(),
        uid: fields.nth(1)?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

/// `name:password:gid:member,member`
pub fn parse_group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    Some(Group {
        name: fields.next()?.to_owned(),
        gid: fields.nth(1)?.parse().ok()?,
        members: fields
            .next()?
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

fn has_member(groups: &[Group], name: &str, account: &str) -> bool {
    let mut named = groups.iter().filter(|group| group.name == name);
    named.any(|group| group.members.iter().any(|member| member == account))
}

fn group_missing(groups: &[Group], wanted: &Account) -> Result<bool> {
    let by_name = groups.iter().find(|group| group.name == wanted.name);
    let by_id = groups.iter().find(|group| group.gid == wanted.gid);
    match (by_name, by_id) {
        (Some(group), _) if group.gid != wanted.gid => Err(Error::new(
            format!(
                "group `{}` has gid {}, but {} is wanted",
                group.name, group.gid, wanted.gid
            ),
            format!(
                "set user.gid to {} in the config, or choose another user.name",
                group.gid
            ),
        )),
        (None, Some(other)) => Err(Error::new(
            format!(
                "gid {} belongs to group `{}`, but `{}` is to have it",
                wanted.gid, other.name, wanted.name
            ),
            "set user.gid in the config to a free number, or remove that group if nothing uses it",
        )),
        (name, _) => Ok(name.is_none()),
    }
}

fn account_missing(accounts: &[Account], wanted: &Account) -> Result<bool> {
    let by_name = accounts.iter().find(|account| account.name == wanted.name);
    let by_id = accounts.iter().find(|account| account.uid == wanted.uid);
    match (by_name, by_id) {
        (Some(account), _) if (account.uid, account.gid) != (wanted.uid, wanted.gid) => {
            Err(Error::new(
                format!(
                    "user `{}` has uid {} and gid {}, but {} and {} are wanted",
                    account.name, account.uid, account.gid, wanted.uid, wanted.gid
                ),
                "set user.uid and user.gid in the config to those, or choose another user.name",
            ))
        }
        (None, Some(other)) => Err(Error::new(
            format!(
                "uid {} belongs to user `{}`, but `{}` is to have it",
                wanted.uid, other.name, wanted.name
            ),
            "set user.uid in the config to a free number, or remove that user if nothing needs it",
        )),
        (name, _) => Ok(name.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    fn wanted() -> Account {
        Account {
            name: "bcuser".into(),
            uid: 1002,
            gid: 1002,
        }
    }

    fn machine(passwd: &str, group: &str) -> Tree {
        let tree = Tree::new();
        tree.file(
            "/etc/passwd",
            format!("root:x:0:0:root:/root:/bin/bash\n+::::::\n{passwd}"),
        );
        tree.file("/etc/group", format!("root:x:0:\n+:::\n{group}"));
        for tool in ["groupadd", "useradd", "usermod"] {
            tree.tool(tool, "");
        }
        tree
    }

    async fn create(tree: &Tree) -> Vec<String> {
        create_in(tree, Some("docker")).await
    }

    async fn create_in(tree: &Tree, also: Option<&str>) -> Vec<String> {
        let missing = tree.host.account_missing(&wanted(), also).unwrap();
        tree.host
            .create_account(&wanted(), also, missing)
            .await
            .unwrap();
        tree.calls()
    }

    #[tokio::test]
    async fn makes_only_what_is_missing() {
        let account = "bcuser:x:1002:1002::/home/bcuser:/bin/bash\n";
        assert_eq!(
            create(&machine("", "docker:x:998:\n")).await,
            [
                "groupadd --gid 1002 bcuser",
                "useradd --uid 1002 --gid 1002 --create-home --shell /bin/bash --groups docker bcuser"
            ]
        );
        assert_eq!(
            create(&machine("", "docker:x:998:\nbcuser:x:1002:\n")).await,
            [
                "useradd --uid 1002 --gid 1002 --create-home --shell /bin/bash --groups docker bcuser"
            ]
        );
        assert_eq!(
            create(&machine(
                account,
                "docker:x:998:xbcuser,other\nbcuser:x:1002:\n"
            ))
            .await,
            ["usermod --append --groups docker bcuser"]
        );
        assert_eq!(
            create_in(&machine("", ""), None).await,
            [
                "groupadd --gid 1002 bcuser",
                "useradd --uid 1002 --gid 1002 --create-home --shell /bin/bash bcuser"
            ]
        );
        assert_eq!(
            create(&machine(
                account,
                "docker:x:998:other,bcuser\nbcuser:x:1002:\n"
            ))
            .await,
            [""; 0]
        );
    }

    #[test]
    fn a_name_or_number_of_someone_else_is_refused() {
        for (passwd, group, reason) in [
            (
                "ann:x:1002:1002::/:/bin/sh\n",
                "docker:x:998:\n",
                "uid 1002 belongs to user `ann`, but `bcuser` is to have it",
            ),
            (
                "bcuser:x:1001:1002::/:/bin/sh\n",
                "docker:x:998:\n",
                "user `bcuser` has uid 1001 and gid 1002, but 1002 and 1002 are wanted",
            ),
            (
                "bcuser:x:1002:100::/:/bin/sh\n",
                "docker:x:998:\n",
                "user `bcuser` has uid 1002 and gid 100, but 1002 and 1002 are wanted",
            ),
            (
                "",
                "docker:x:998:\nbcuser:x:1001:\n",
                "group `bcuser` has gid 1001, but 1002 is wanted",
            ),
            (
                "",
                "docker:x:1002:\n",
                "gid 1002 belongs to group `docker`, but `bcuser` is to have it",
            ),
        ] {
            let tree = machine(passwd, group);
            let error = tree
                .host
                .account_missing(&wanted(), Some("docker"))
                .unwrap_err();
            assert_eq!(error.reason(), reason);
        }
    }

    #[tokio::test]
    async fn without_the_docker_group_nothing_is_made() {
        let tree = machine("", "");
        let missing = tree
            .host
            .account_missing(&wanted(), Some("docker"))
            .unwrap();
        assert!(missing.membership);
        let error = tree
            .host
            .create_account(&wanted(), Some("docker"), missing)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "there is no group `docker` on this machine");
        assert_eq!(tree.calls(), [""; 0]);
    }

    #[test]
    fn a_machine_without_the_files_is_broken_not_empty() {
        let error = Tree::new()
            .host
            .account_missing(&wanted(), Some("docker"))
            .unwrap_err();
        assert_eq!(error.reason(), "/etc/passwd does not exist");
    }
}
