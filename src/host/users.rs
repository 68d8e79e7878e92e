//! Accounts and groups.
