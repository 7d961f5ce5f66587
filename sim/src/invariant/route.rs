//! Route: at rest every NameServer sends clients of a group to the one member that leads it, where that one listens.

use std::net::{IpAddr, SocketAddr};

use super::{GroupView, Invariant, RouteView, View};

/// See the module.
#[derive(Debug, Default)]
pub struct RouteReachesLeader;

fn leader_of(group: &GroupView) -> Result<IpAddr, String> {
    let leading: Vec<IpAddr> =
        group.running().filter(|(_, member)| member.is_leader()).map(|(seat, _)| seat.ip).collect();
    match &leading[..] {
        [leader] => Ok(*leader),
        several => Err(format!("{several:?} lead at rest, where one is to lead")),
    }
}

fn check(leader: IpAddr, nameserver: IpAddr, route: Option<SocketAddr>) -> Result<(), String> {
    match route {
        Some(route) if route.ip() == leader => Ok(()),
        route => Err(format!("{leader} leads, and the NameServer {nameserver} sends clients to {route:?}")),
    }
}

impl Invariant for RouteReachesLeader {
    fn name(&self) -> &'static str {
        "route-reaches-leader"
    }

    fn at_rest(&mut self, view: &View) -> Result<(), String> {
        for group in &view.groups {
            let checked = leader_of(group).and_then(|leader| {
                let mut routes = view.routes.iter().filter(|route| route.group == group.name);
                routes.try_for_each(|RouteView { nameserver, leader: route, .. }| check(leader, *nameserver, *route))
            });
            checked.map_err(|what| format!("{}: {what}", group.name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_to_nowhere_or_to_a_follower_is_noticed() {
        let ip = |n| IpAddr::from([10, 0, 0, n]);
        assert_eq!(check(ip(1), ip(9), Some(SocketAddr::new(ip(1), 10911))), Ok(()));
        assert!(check(ip(1), ip(9), Some(SocketAddr::new(ip(2), 10911))).unwrap_err().contains("10.0.0.2:10911"));
        assert!(check(ip(1), ip(9), None).unwrap_err().contains("sends clients to None"));
    }
}
