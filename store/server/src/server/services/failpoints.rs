//! Orders about failpoints. Nothing here waits for the node's own thread: it may be the one that pauses.

use tonic::{Response, Status};

use super::Services;
use crate::api;
use crate::api::failpoints_request::Order;
use crate::options::FAILPOINTS_VARIABLE;
use crate::server::failpoints::{Action, Failpoints, Point, PointStatus};

impl Services {
    pub(super) fn failpoints(
        &self,
        request: api::FailpointsRequest,
    ) -> Result<Response<api::FailpointsReply>, Status> {
        let failpoints = self.shared.node.failpoints.as_deref().ok_or_else(|| {
            Status::failed_precondition(format!(
                "this node takes no orders for failpoints: it was not started with --failpoints and {FAILPOINTS_VARIABLE}=1"
            ))
        })?;
        carry_out(failpoints, request.order)?;
        let failpoints = failpoints.list().into_iter().map(listed).collect();
        Ok(Response::new(api::FailpointsReply { failpoints }))
    }
}

fn carry_out(failpoints: &Failpoints, order: Option<Order>) -> Result<(), Status> {
    let point =
        |name: &str| name.parse::<Point>().map_err(|unknown| Status::invalid_argument(unknown.to_string()));
    match order {
        None => {}
        Some(Order::Set(api::SetFailpoint { name, action, times })) => {
            let point = point(&name)?;
            let action: Result<Action, _> = action.parse();
            let action = action.map_err(|unknown| Status::invalid_argument(unknown.to_string()))?;
            failpoints.set(point, action, (times > 0).then_some(times));
        }
        Some(Order::Clear(api::ClearFailpoint { name })) if name.is_empty() => failpoints.clear_all(),
        Some(Order::Clear(api::ClearFailpoint { name })) => failpoints.clear(point(&name)?),
    }
    Ok(())
}

fn listed(status: PointStatus) -> api::Failpoint {
    let PointStatus { point, action, times_left, passes, struck } = status;
    api::Failpoint {
        name: point.name().to_owned(),
        action: action.map(|action| action.to_string()).unwrap_or_default(),
        times_left: times_left.unwrap_or(0),
        passes,
        struck,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn set(name: &str, action: &str) -> Option<Order> {
        Some(Order::Set(api::SetFailpoint { name: name.to_owned(), action: action.to_owned(), times: 3 }))
    }

    fn clear(name: &str) -> Option<Order> {
        Some(Order::Clear(api::ClearFailpoint { name: name.to_owned() }))
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is_and_changes_nothing() {
        let failpoints = Failpoints::default();
        for (order, named) in [
            (set("before-lunch", "exit"), "before-wal-sync"),
            (set("before-step", "sleep 3"), "pause MS"),
            (clear("before-lunch"), "before-wal-sync"),
        ] {
            let refusal = carry_out(&failpoints, order).unwrap_err();
            assert_eq!(refusal.code(), Code::InvalidArgument);
            assert!(refusal.message().contains(named), "{refusal}");
        }
        assert!(failpoints.list().iter().all(|status| status.action.is_none()));
    }

    #[test]
    fn an_order_is_listed_as_it_was_given_until_it_is_cleared() {
        let failpoints = Failpoints::default();
        let shown = || -> Vec<(String, String, u64)> {
            let all = failpoints.list().into_iter().map(listed);
            let ordered = all.filter(|point| !point.action.is_empty());
            ordered.map(|point| (point.name, point.action, point.times_left)).collect()
        };
        for (name, action) in [("before-step", "pause 20"), ("after-wal-sync", "exit")] {
            carry_out(&failpoints, set(name, action)).unwrap();
        }
        let row = |name: &str, action: &str| (name.to_owned(), action.to_owned(), 3);
        assert_eq!(shown(), [row("before-step", "pause 20"), row("after-wal-sync", "exit")]);
        carry_out(&failpoints, clear("before-step")).unwrap();
        assert_eq!(shown(), [row("after-wal-sync", "exit")]);
        carry_out(&failpoints, clear("")).unwrap();
        assert_eq!(shown(), []);
    }
}
