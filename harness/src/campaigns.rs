//! The committed campaigns: configurations that the harness is itself tested with, built into the binary.

use crate::config::{ConfigError, TestOptions};

/// A campaign that must find a defect of the reference store.
#[derive(Clone, Copy, Debug)]
pub struct DefectCampaign {
    /// The defect's name.
    pub defect: &'static str,
    /// The campaign, as TOML; its comment says why it exposes the defect.
    pub toml: &'static str,
}

/// Declares the table: one line per defect, the file beside the others.
macro_rules! campaigns {
    ($($name:literal)*) => {
        &[$(DefectCampaign { defect: $name, toml: include_str!(concat!("../campaigns/defects/", $name, ".toml")) },)*]
    };
}

/// One campaign for each defect that the harness can expose, in the order of the documentation.
pub const DEFECTS: &[DefectCampaign] = campaigns! {
    "vote-not-persisted"
    "election-no-log-check"
    "async-replication-ack"
    "commit-index-not-min"
    "local-leader-read"
    "follower-read"
    "no-request-deduplication"
    "cas-evaluated-at-propose"
    "lease-read-clock-skew"
    "lease-read-after-pause"
    "dedup-expiry-clock"
    "ttl-wall-clock"
    "lease-revoked-by-old-leader"
    "follower-acks-before-fsync"
    "leader-acks-before-fsync"
    "no-dir-fsync"
    "torn-tail-ignored"
    "mid-log-corruption-truncates"
    "disk-full-swallowed"
    "fsync-failure-retry"
    "membership-two-at-once"
    "membership-no-noop"
    "membership-applied-at-commit"
    "joint-exit-lost"
    "removed-node-disrupts"
    "leadership-transfer-keeps-serving"
    "no-check-quorum"
    "no-prevote-livelock"
    "partial-partition-stuck-leader"
    "stale-append-reply-counted"
};

impl DefectCampaign {
    /// The campaign of a defect.
    #[must_use]
    pub fn of(defect: &str) -> Option<DefectCampaign> {
        DEFECTS.iter().copied().find(|campaign| campaign.defect == defect)
    }

    /// Its options.
    ///
    /// # Errors
    /// If the built-in file is malformed, which a test excludes.
    pub fn options(&self) -> Result<TestOptions, ConfigError> {
        TestOptions::parse(self.toml, format!("{}.toml", self.defect).as_ref())
    }

    /// Why the campaign exposes the defect: the comment at its head.
    #[must_use]
    pub fn explanation(&self) -> String {
        let comment = self.toml.lines().take_while(|line| line.starts_with('#'));
        comment.map(|line| line.trim_start_matches('#').trim()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use labrys_seed::Seed;

    use super::*;

    #[test]
    fn every_campaign_is_complete_switches_its_defect_on_and_says_why_it_works() {
        for campaign in DEFECTS {
            let config = campaign.options().expect("well-formed").resolve(Seed(1)).expect("valid");
            assert_eq!(config.defect, [campaign.defect]);
            assert_eq!(config.name, campaign.defect);
            assert!(campaign.explanation().len() > 60, "{}", campaign.defect);
        }
    }
}
