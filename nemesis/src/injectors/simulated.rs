//! What only the simulator can do so far: refused here, before anything is touched.

use super::{Injector, Scope, StepReport};
use crate::evidence::{NodeFailure, Step};

/// Stands where the injectors of these families will.
pub(super) struct SimulatedOnly;

impl Injector for SimulatedOnly {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        let family = scope.resolved.family();
        let detail =
            format!("`{family}` is a fault of the simulator (`labrys sim`): real nodes cannot have it yet");
        let on_node =
            |node: &str| NodeFailure { node: node.to_owned(), step: Step::Apply, detail: detail.clone() };
        scope.resolved.nodes().into_iter().map(on_node).collect()
    }

    fn apply(&self, _: &Scope<'_>) -> StepReport {
        StepReport::default()
    }

    fn verify(&self, _: &Scope<'_>) -> StepReport {
        StepReport::default()
    }

    fn undo(&self, _: &Scope<'_>) -> StepReport {
        StepReport::default()
    }

    fn verify_undone(&self, _: &Scope<'_>) -> StepReport {
        StepReport::default()
    }
}
