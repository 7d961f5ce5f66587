//! Who of a group reads which queues. Every member computes it alike from the same sorted lists.

use crate::client::queue::MessageQueue;

/// The queues of `client_id`: an even share each, the first members one more if they do not divide evenly, neighbours
/// together (AllocateMessageQueueAveragely.java). None if `client_id` is not among `members`.
///
/// `queues` and `members` are sorted and without repetitions.
pub fn averagely<'q>(queues: &'q [MessageQueue], members: &[String], client_id: &str) -> &'q [MessageQueue] {
    let Some(at) = members.iter().position(|member| member == client_id) else { return &[] };
    let (share, rest) = (queues.len() / members.len(), queues.len() % members.len());
    let start = at * share + at.min(rest);
    let count = share + usize::from(at < rest);
    &queues[start..start + count]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(queues: u32, members: usize) -> Vec<Vec<u32>> {
        let queues: Vec<_> = (0..queues).map(|id| MessageQueue::new("T", "g", id)).collect();
        let members: Vec<_> = (0..members).map(|member| format!("c{member:03}")).collect();
        let of = |member: &String| averagely(&queues, &members, member).iter().map(|queue| queue.queue_id).collect();
        members.iter().map(of).collect()
    }

    #[test]
    fn ten_queues_for_four_members_are_3_3_2_2() {
        assert_eq!(table(10, 4), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7], vec![8, 9]]);
    }

    #[test]
    fn surplus_members_get_nothing() {
        assert_eq!(table(4, 5), [vec![0], vec![1], vec![2], vec![3], vec![]]);
        assert_eq!(table(0, 2), [Vec::<u32>::new(), Vec::new()]);
        assert_eq!(table(8, 1), [(0..8).collect::<Vec<_>>()]);
    }

    #[test]
    fn every_queue_has_exactly_one_reader() {
        for queues in 0..40 {
            for members in 1..12 {
                let all: Vec<u32> = table(queues, members).concat();
                assert_eq!(all, (0..queues).collect::<Vec<_>>(), "{queues} queues, {members} members");
            }
        }
    }

    #[test]
    fn who_is_not_a_member_gets_nothing() {
        let queues = [MessageQueue::new("T", "g", 0)];
        assert!(averagely(&queues, &["a".to_owned()], "b").is_empty());
        assert!(averagely(&queues, &[], "b").is_empty());
    }
}
