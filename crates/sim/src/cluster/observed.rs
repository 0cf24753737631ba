//! Everything the checkers were told of one cluster.

use crate::check::{
    Agreement, Completeness, Elections, Fences, LogMatching, Prefix, Renewals, Survival,
};
use crate::cluster::history::History;
use crate::cluster::settings::ClusterReport;

#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) elections: Elections,
    pub(super) logs: LogMatching,
    pub(super) completeness: Completeness,
    pub(super) agreement: Agreement,
    pub(super) prefix: Prefix,
    pub(super) fences: Fences,
    pub(super) renewals: Renewals,
    pub(super) survival: Survival,
    pub(super) history: History,
}

impl Observed {
    pub(super) fn report(&self, report: &mut ClusterReport) {
        report.elections = self.elections.count();
        report.states_compared = self.agreement.compared();
        report.stale_reads = self.prefix.reads();
        report.acquisitions = self.fences.count();
        report.records = self.survival.count();
        report.judged = self.history.judged;
        report.undecided = self.history.undecided;
    }
}
