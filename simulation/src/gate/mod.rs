//! The gate: which of the store's defects does the simulator find, how soon, and is it silent on the correct store under the same
//! faults? [`table`] has the smallest campaign of each defect, or the reason why there is none.

pub mod table;

use std::path::Path;
use std::time::Duration;

use labrys_harness::config::TestOptions;
use labrys_seed::Seed;

use crate::failure::Failure;
use crate::run::{SimulationConfig, SimulationError};
use crate::shrink::simulate;
pub use table::{Campaign, ROWS, Row, Search};

/// What all campaigns have, unless they say otherwise.
const USUAL: &str = "testbed = \"sim\"\nrate = 100.0\ntime-limit = \"10s\"\nnemesis-interval = \"1s\"";

impl Row {
    /// The row of a defect.
    #[must_use]
    pub fn of(defect: &str) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.defect == defect)
    }

    /// Its campaign; `None` if it has none.
    #[must_use]
    pub fn campaign(&self) -> Option<Campaign> {
        match self.search {
            Search::Campaign(campaign) => Some(campaign),
            Search::NotExpressible { .. } => None,
        }
    }

    /// Its campaign with a seed, the defect switched on or not; `None` if it has none.
    ///
    /// # Errors
    /// [`SimulationError::Config`]: the row makes no sense, which a test excludes.
    pub fn config(
        &self,
        seed: Seed,
        is_defective: bool,
    ) -> Result<Option<SimulationConfig>, SimulationError> {
        let Some(Campaign { toml, deaf, log_write_us, .. }) = self.campaign() else { return Ok(None) };
        let parse = |text| TestOptions::parse(text, Path::new(self.defect));
        let defect = is_defective.then(|| vec![self.defect.to_owned()]);
        let options = TestOptions { defect, ..TestOptions::default() }.or(parse(toml)?).or(parse(USUAL)?);
        let mut config = SimulationConfig { deaf, ..SimulationConfig::new(options.resolve(seed)?) };
        config.environment.log_write_us = log_write_us.unwrap_or(config.environment.log_write_us);
        Ok(Some(config))
    }

    /// What the row takes for a sign of its defect: whatever accuses a run, or, where the faults alone can do harm (a disk that rots),
    /// only certain properties.
    fn accusation(&self, simulated: &crate::Simulated) -> Option<Failure> {
        let Campaign { counts, .. } = self.campaign()?;
        let counts = |failure: &Failure| counts.is_empty() || counts.contains(&failure.of.as_str());
        Failure::all(simulated).into_iter().find(counts)
    }
}

/// How long a hunt lasts.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// So much time in its worlds; a run that ends at once counts as a second, because it costs something, too.
    pub simulated: Duration,
    /// So many runs.
    pub runs: u64,
}

/// What looking for a defect from one seed on came to.
#[derive(Debug)]
pub struct Hunted {
    /// Runs until it was found, or all of them.
    pub runs: u64,
    /// How much time passed in their worlds.
    pub simulated: Duration,
    /// The run that shows it, and what accuses it.
    pub found: Option<(SimulationConfig, Failure)>,
}

/// Seeds of the runs of one hunt follow each other; those of different hunts are apart.
const SEEDS_OF_A_HUNT: u64 = 1_000_000;

/// The seed of a run of a hunt.
#[must_use]
pub fn seed_of(hunt: u64, run: u64) -> Seed {
    Seed(hunt.wrapping_mul(SEEDS_OF_A_HUNT).wrapping_add(run))
}

/// Runs the campaign of `row` with seed after seed until one shows its defect (or, if `is_defective` is false, an alarm that is
/// false), or patience is at an end. A function of its arguments.
///
/// # Errors
/// [`SimulationError`].
pub fn hunt(
    row: &Row,
    number: u64,
    patience: Patience,
    is_defective: bool,
) -> Result<Hunted, SimulationError> {
    let mut hunted = Hunted { runs: 0, simulated: Duration::ZERO, found: None };
    let mut spent = Duration::ZERO;
    while spent < patience.simulated && hunted.runs < patience.runs {
        let Some(config) = row.config(seed_of(number, hunted.runs), is_defective)? else { break };
        let simulated = simulate(&config)?;
        hunted.runs += 1;
        hunted.simulated += simulated.simulated;
        spent += simulated.simulated.max(Duration::from_secs(1));
        if let Some(failure) = row.accusation(&simulated) {
            hunted.found = Some((config, failure));
            break;
        }
    }
    Ok(hunted)
}
