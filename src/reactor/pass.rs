//! Commands that the device of a logical unit runs.
//!
//! They are disk requests like others: what the device has of a command that is forgotten is a ghost, which keeps its
//! slot. Where such a command may change the medium is not looked at: its fence is around all of it, so later commands
//! that read or write wait until it has ended, and those that only ask go on. One that is forgotten before a thread has
//! taken it is never sent; nor is one whose session has lost the right to it meanwhile.

use std::sync::Arc;

use super::disk::{Client, Job, JobId};
use super::gates::Then;
use super::world::World;
use crate::ids::{ConnId, LuId, TaskId};
use crate::ring::Driver;
use crate::scsi::{ItNexus, PassReport, SharedOp, block_length, status};
use crate::session::host::{DiskOp, PassRequest};
use crate::store::{Errand, Step};

impl<D: Driver> World<D> {
    /// Takes a command.
    pub(super) fn pass(&mut self, client: Client, lu: LuId, request: PassRequest) {
        let PassRequest { order, buf, len, inward } = request;
        let op =
            DiskOp::Pass { buf, len, reads: order.reads, changes: order.changes, standby: order.standby };
        // By the number that the request is about to get.
        let serial = self.job_serial.wrapping_add(1);
        self.errands.insert(serial, Arc::new(Errand::new(order, inward)));
        self.submit(client, lu, op);
    }

    /// Sends it to the device.
    pub(super) fn pass_step(&self, job: &Job) -> Option<Step> {
        let errand = self.errands.get(&job.serial)?;
        errand.renew();
        let DiskOp::Pass { buf, len, .. } = job.op else { return None };
        let data = buf.filter(|_| len > 0).map(|buf| self.memory.lend(self.pool.place(buf).first(len)));
        let unit = self.units.get(job.lu.0 as usize)?;
        Some(unit.store.pass(errand, data))
    }

    /// A command that is still with its task has ended: what the device has answered is kept for that. If that is another
    /// length of its blocks than was known: this.
    pub(super) fn keep_report(&mut self, id: JobId) -> Option<u32> {
        let job = self.jobs.get(id.index as usize)?;
        let errand = self.errands.remove(&job.serial)?;
        let report = errand.report()?.clone();
        let told = match job.op {
            DiskOp::Pass { buf: Some(buf), .. } if report.status == status::GOOD => {
                let data = self.memory.get(self.pool.place(buf));
                block_length(&errand.order().cdb, &data[..report.moved as usize])
            }
            _ => None,
        };
        self.reports.push((job.client, job.lu, report));
        let known = self.units.get(job.lu.0 as usize).map(|unit| unit.lu.facts.block_size);
        told.filter(|length| known != Some(*length))
    }

    /// A medium has blocks of that length, as the device has just told: whoever has asked hears it when every reactor
    /// measures by it.
    pub(super) fn learn(&mut self, client: Client, lu: LuId, length: u32) {
        let gate = self.gates.shut(1, Then::Learned { client, lu });
        self.ask(lu, SharedOp::BlockLength(length), ItNexus::nobody(), gate);
    }

    /// A command has ended, or never begins, and nobody wants to know.
    pub(super) fn drop_errand(&mut self, op: DiskOp, serial: u32) {
        if let DiskOp::Pass { .. } = op {
            self.errands.remove(&serial);
        }
    }

    /// A command is not to be sent any more. Whether the device never gets it.
    pub(super) fn recall_errand(&self, serial: u32) -> bool {
        self.errands.get(&serial).is_some_and(|errand| errand.recall())
    }

    /// What the device has answered to a task.
    pub(super) fn take_report(&mut self, conn: ConnId, task: TaskId) -> Option<PassReport> {
        self.take_report_where(
            |client, _| matches!(client, Client::Task { conn: c, task: t, .. } if c == conn && t == task),
        )
    }

    /// What the device has answered to that client about that logical unit.
    pub(super) fn take_report_where(&mut self, which: impl Fn(Client, LuId) -> bool) -> Option<PassReport> {
        let at = self.reports.iter().position(|(client, lu, _)| which(*client, *lu))?;
        Some(self.reports.swap_remove(at).2)
    }
}
