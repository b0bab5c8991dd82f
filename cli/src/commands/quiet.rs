//! Panics of the simulated store are findings, and not to be told as bugs of ours.

use labrys_simulation::node::is_in_store;

/// A panic of the simulated store is the end of a node, and in its verdict; ours are told as ever.
pub fn quieten_the_store() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_in_store() {
            told(panic);
        }
    }));
}
