//! under way
use crate::facts::Facts;
pub(crate) fn html(facts: &Facts<'_>, timeline: &str, latency: &str, rate: &str) -> String {
    format!(
        "<!doctype html><meta charset=utf-8>{timeline}{latency}{rate}<script type=application/json>{}</script>",
        crate::columns::json(facts)
    )
}
