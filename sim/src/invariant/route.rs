//! Route: at rest every NameServer sends clients of a group to the one member that leads it, where that one listens. And
//! at no time does a NameServer go back from the leader of a term to one that has led only in terms before.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{GroupView, Invariant, RouteView, View};

/// See the module.
#[derive(Debug, Default)]
pub struct RouteReachesLeader {
    /// The last term in which each host led.
    led: BTreeMap<IpAddr, u64>,
    /// The term of the leader to which each NameServer sends clients of each group.
    sent_to: BTreeMap<(IpAddr, Arc<str>), u64>,
}

impl RouteReachesLeader {
    fn note(&mut self, route: &RouteView) -> Result<(), String> {
        let RouteView { nameserver, group, leader } = route;
        let key = (*nameserver, Arc::clone(group));
        let Some((addr, term)) = leader.and_then(|addr| Some((addr, *self.led.get(&addr.ip())?))) else {
            // A NameServer that has forgotten a group takes what it is told next.
            self.sent_to.remove(&key);
            return Ok(());
        };
        match self.sent_to.insert(key, term) {
            Some(before) if before > term => Err(format!(
                "{group}: the NameServer {nameserver} sent clients to the leader of term {before}, and now to {addr}, which \
                 led last in term {term}"
            )),
            _ => Ok(()),
        }
    }
}

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

    fn looks_at_applies(&self) -> bool {
        // Whoever leads applies an entry of its term before it registers.
        true
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (_, _, seat, member) in view.running().filter(|(.., member)| member.is_leader()) {
            self.led.insert(seat.ip, member.leadership().0);
        }
        view.routes.iter().try_for_each(|route| self.note(route))
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

    #[test]
    fn a_route_back_to_a_leader_of_before_is_noticed() {
        let ip = |n| IpAddr::from([10, 0, 0, n]);
        let to = |leader: Option<IpAddr>| RouteView {
            nameserver: ip(9),
            group: "g".into(),
            leader: leader.map(|ip| SocketAddr::new(ip, 10911)),
        };
        let mut rule = RouteReachesLeader { led: BTreeMap::from([(ip(1), 5), (ip(2), 7)]), ..Default::default() };
        assert_eq!(rule.note(&to(Some(ip(1)))), Ok(()));
        assert_eq!(rule.note(&to(Some(ip(2)))), Ok(()));
        assert!(rule.note(&to(Some(ip(1)))).unwrap_err().contains("of term 7, and now to 10.0.0.1:10911"));
        assert_eq!(rule.note(&to(None)), Ok(()));
        assert_eq!(rule.note(&to(Some(ip(1)))), Ok(()), "all was forgotten");
    }
}
