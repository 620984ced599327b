//! REPORT REFERRALS (SBC-4 sections 4.26 and 5.28): by which groups which blocks are reached.
//!
//! All blocks are one segment, which the only group reaches. Where there are several groups there are no referrals: who
//! offers them must also refer in the sense data of every command to the group that reaches its blocks better, and of
//! that REPORT TARGET PORT GROUPS and unit attentions tell initiators already.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::range;
use super::super::{Answered, Context, Lu};

/// ONE_SEG changes nothing: there is one.
pub(in super::super) fn referrals(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    range(&lu.facts, cdb.u64::<2>(), 1)?;
    let mut answer = Answer::new(out, cdb.u32::<10>() as usize);
    answer.zeroes(4);
    let groups = lu.facts.groups.iter();
    answer.put(&[0, 0, 0, groups.clone().count() as u8]);
    answer.put(&0u64.to_be_bytes());
    answer.put(&lu.facts.blocks.saturating_sub(1).to_be_bytes());
    for group in groups {
        let [high, low] = group.id.to_be_bytes();
        answer.put(&[lu.state.accesses.of(group).code(), 0, high, low]);
    }
    answer.close_u16(2);
    Ok(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Rig, facts};
    use super::super::super::{Asc, LuFacts, Sense};
    use super::super::{Group, Groups};

    fn ask(lba: u64, one_segment: u8) -> Vec<u8> {
        [&[0x9e, 0x13][..], &lba.to_be_bytes(), &64u32.to_be_bytes(), &[one_segment, 0]].concat()
    }

    #[test]
    fn the_only_group_reaches_every_block() {
        let mut rig = Rig::new(facts());
        let last = facts().blocks - 1;
        let all = [&[0, 0, 0, 24, 0, 0, 0, 1][..], &[0; 8], &last.to_be_bytes(), &[0, 0, 0, 0]].concat();
        assert_eq!(rig.data(&ask(0, 0)), all);
        assert_eq!(rig.data(&ask(last, 1)), all);
        assert_eq!(rig.sense(&ask(last + 1, 0)), Sense::illegal(Asc::LBA_OUT_OF_RANGE));
    }

    #[test]
    fn among_several_groups_nobody_is_referred_to_one() {
        let others = vec![Group::new(1, "other")];
        let groups = Groups::new(Group::new(0, "default"), others, 0);
        let mut rig = Rig::new(LuFacts { groups, ..facts() });
        assert_eq!(rig.sense(&ask(0, 0)), Sense::cdb_field(1, 4));
        assert_eq!(rig.sense(&[0x12, 1, 0xb3, 0, 64, 0]), Sense::cdb_field(2, 7));
        assert_eq!(rig.data(&[0x12, 1, 0x86, 0, 64, 0])[8], 0, "R_SUP");
    }
}
