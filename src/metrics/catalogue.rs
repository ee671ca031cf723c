//! What is counted: the labels' values and the list of metric families with help, unit and labels.

use super::shard::ShardMetrics;
use crate::side::Side;

/// Declares an enum whose variants are the values of one metric label.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All values, in the order of their indexes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How many values there are, for arrays indexed by [`Self::index`].
            pub const COUNT: usize = Self::ALL.len();

            /// Position in arrays of [`Self::COUNT`] elements.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The value as metrics, logs and messages write it.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

label_values! {
    /// What a client asked for.
    RequestKind {
        /// SELECT and whatever else changes nothing.
        Read = "read",
        /// INSERT, UPDATE or DELETE that may be sent again freely.
        Write = "write",
        /// Counter update.
        Counter = "counter",
        /// Write to a list that is not frozen.
        List = "list",
        /// Conditional write (`IF …`).
        Lwt = "lwt",
        /// BATCH frame or `BEGIN BATCH` text.
        Batch = "batch",
        /// Schema change.
        Ddl = "ddl",
        /// TRUNCATE.
        Truncate = "truncate",
        /// PREPARE.
        Prepare = "prepare",
        /// USE.
        Use = "use",
        /// OPTIONS: also the drivers' heartbeat.
        Options = "options",
        /// STARTUP.
        Startup = "startup",
        /// AUTH_RESPONSE.
        Auth = "auth",
        /// REGISTER.
        Register = "register",
        /// Roles, grants and what the classifier does not know.
        Other = "other",
    }
}

label_values! {
    /// What the source's answer means for a write.
    Verdict {
        /// The source has it: the target gets it.
        Applied = "applied",
        /// The source certainly does not have it: the target does not get it.
        Refused = "refused",
        /// The source may have it.
        Ambiguous = "ambiguous",
    }
}

label_values! {
    /// Why a write that the source applied is not sent to the target.
    Skip {
        /// `--filter-tables` matches its text.
        Filter = "filter",
        /// `--mirror-ddl` leaves this schema change out.
        Ddl = "ddl",
        /// Roles, grants and passwords are not mirrored.
        Roles = "roles",
        /// It touches a system keyspace.
        System = "system",
        /// The condition did not hold (`[applied]=false`).
        NotApplied = "not_applied",
        /// This version cannot mirror this kind of statement.
        Unsupported = "unsupported",
    }
}

label_values! {
    /// Why TLS with a peer failed.
    TlsFailure {
        /// Its certificate is signed by nobody who is trusted, or is no good.
        Untrusted = "untrusted",
        /// Its certificate is for another name.
        Name = "name",
        /// Its certificate has expired, or is not valid yet.
        Expired = "expired",
        /// It showed none where one is wanted.
        NoCertificate = "no_certificate",
        /// It ended the handshake or the connection with an alert.
        Refused = "refused",
        /// What it sent is no TLS, broken, or nothing that both sides speak.
        Protocol = "protocol",
        /// The handshake took too long.
        Late = "late",
        /// The connection ended during the handshake.
        Closed = "closed",
    }
}

label_values! {
    /// Direction of bytes, seen from the proxy.
    Flow {
        /// Received by the proxy.
        In = "in",
        /// Sent by the proxy.
        Out = "out",
    }
}

label_values! {
    /// The two ways through the proxy.
    Direction {
        /// Client bytes received until they are handed to the kernel for the source.
        Request = "request",
        /// Source bytes received until they are handed to the kernel for the client.
        Answer = "answer",
    }
}

label_values! {
    /// Things that are only counted; the label is the name of the family.
    Event {
        /// The target confirmed a live write.
        Mirrored = "mirrored_writes",
        /// A live write was sent to the target once more.
        Retried = "mirror_retries",
        /// A write went to the spill.
        Spilled = "spilled_writes",
        /// The target confirmed a write from the spill.
        Replayed = "replayed_writes",
        /// The target refused a write for good.
        Rejected = "rejected_writes",
        /// A write was dropped because the spill was full, as the operator wants it.
        Dropped = "dropped_writes",
        /// A spilled delete was older than the target's grace and was kept instead of sent.
        OldDelete = "old_deletes",
        /// The fate of a write that must not be repeated is unknown at one side.
        InDoubt = "in_doubt_writes",
        /// An ambiguous write was sent to the source again with its own stamp.
        Resent = "source_resends",
        /// A row was read back from the source after a conditional write.
        ReadBack = "source_read_backs",
        /// A statement was prepared at the target again, because the target had forgotten it.
        Reprepared = "target_reprepares",
        /// The proxy gave a write its stamp.
        StampInjected = "stamps_injected",
        /// The client brought the stamp.
        StampClient = "stamps_from_client",
        /// The client's stamp lies far in the future: it beats every later write.
        StampFarFuture = "stamps_far_future",
        /// A write was larger than the journal, and is not in it.
        Unjournaled = "unjournaled_writes",
        /// The journal was brought to the disk (`--durability machine`).
        JournalCommit = "journal_commits",
        /// Certificates have changed and cannot be used; the old ones stay.
        TlsReloadFailed = "tls_reload_failures",
    }
}

impl Event {
    const fn help(self) -> &'static str {
        match self {
            Self::Mirrored => "Live writes that the target confirmed",
            Self::Retried => "Live writes sent to the target again",
            Self::Spilled => "Writes put into the spill",
            Self::Replayed => "Writes from the spill that the target confirmed",
            Self::Rejected => "Writes that the target refused for good",
            Self::Dropped => "Writes dropped because the spill was full",
            Self::OldDelete => "Deletes kept because they are too old to be sent",
            Self::InDoubt => "Unrepeatable writes whose fate is unknown",
            Self::Resent => "Ambiguous writes sent to the source again",
            Self::ReadBack => "Rows read back from the source after conditional writes",
            Self::Reprepared => "Statements prepared at the target again",
            Self::StampInjected => "Writes that got their stamp from the proxy",
            Self::StampClient => "Writes that brought their own stamp",
            Self::StampFarFuture => "Client stamps far in the future",
            Self::Unjournaled => "Writes larger than the journal",
            Self::JournalCommit => "Times that the journal was brought to the disk",
            Self::TlsReloadFailed => "Changed certificates that cannot be used",
        }
    }
}

label_values! {
    /// Values that go up and down; the label is the name of the family.
    Gauge {
        /// Live writes sent to the target and not yet answered.
        MirrorInFlight = "mirror_in_flight",
        /// Live writes that wait in memory, sent or not.
        PendingWrites = "pending_writes",
        /// Bytes of the live writes that wait in memory.
        PendingBytes = "pending",
        /// Records in the spill that the target does not have.
        BacklogRecords = "backlog_records",
        /// Bytes of these records.
        BacklogBytes = "backlog",
        /// Rejected writes that are kept in the data directory, from earlier runs too.
        RejectedHeld = "rejected_held",
        /// In-doubt writes that are kept in the data directory, from earlier runs too.
        InDoubtHeld = "in_doubt_held",
        /// Windows of time in which writes may be missing at the target, with no write kept.
        DirtyWindows = "dirty_windows",
        /// Writes that a proxy which died left in its journal, and that are not settled.
        Unsettled = "unsettled_writes",
        /// Records in the journal that are not done.
        JournalRecords = "journal_records",
        /// Bytes of the journal's blocks that hold them.
        JournalBytes = "journal",
        /// 1 when the journal cannot be brought to the disk: no write is acknowledged any more.
        JournalFailed = "journal_failed",
        /// Statements that the shard knows.
        Prepared = "prepared_statements",
        /// 1 when at least one target connection is ready.
        TargetUp = "target_up",
        /// 1 while connections that write are not read from, because the spill has no room.
        ClientsHeld = "clients_held",
        /// Target nodes that get nothing but a try now and then: they failed, or do not answer.
        TargetsResting = "target_nodes_resting",
        /// How long the target's answers to writes take, smoothed (µs).
        TargetAnswerUs = "target_answer_us",
        /// 1 while the shard accepts clients.
        Listening = "listening",
    }
}

impl Gauge {
    const fn help(self) -> &'static str {
        match self {
            Self::MirrorInFlight => "Writes sent to the target and not answered",
            Self::PendingWrites => "Live writes that wait in memory",
            Self::PendingBytes => "Bytes of live writes that wait in memory",
            Self::BacklogRecords => "Spilled writes that the target lacks",
            Self::BacklogBytes => "Bytes of spilled writes that the target lacks",
            Self::RejectedHeld => "Rejected writes kept in the data directory",
            Self::InDoubtHeld => "In-doubt writes kept in the data directory",
            Self::DirtyWindows => "Windows of time in which the target may lack writes",
            Self::Unsettled => "Writes of a proxy that died, not settled yet",
            Self::JournalRecords => "Writes in the journal that are not done",
            Self::JournalBytes => "Bytes of the journal in use",
            Self::JournalFailed => "1 when the journal cannot be brought to the disk",
            Self::Prepared => "Prepared statements known",
            Self::TargetUp => "1 when a target connection is ready",
            Self::ClientsHeld => "1 while clients that write wait for room in the spill",
            Self::TargetsResting => "Target nodes that are tried only now and then",
            Self::TargetAnswerUs => "Smoothed time of the target's answers to writes, in µs",
            Self::Listening => "1 while the shard accepts clients",
        }
    }

    const fn unit(self) -> Option<&'static str> {
        match self {
            Self::PendingBytes | Self::BacklogBytes | Self::JournalBytes => Some("bytes"),
            _ => None,
        }
    }
}

/// Reads one value of a family for one shard: the shard, and the position among the labels.
pub(super) type Read = Box<dyn Fn(&ShardMetrics, usize) -> u64>;

/// The labels that a family has beside `shard`.
pub(super) enum Labels {
    /// Only `shard`.
    None,
    /// One more label with the listed values; the reader is called with the value's position.
    One(&'static str, Vec<&'static str>),
    /// Side and flow; the reader is called with `side * Flow::COUNT + flow`.
    SideFlow,
    /// Side and reason; the reader is called with `side * TlsFailure::COUNT + reason`.
    SideTlsFailure,
}

/// Counter or gauge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Only grows; exported with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric family as it is exported.
pub(super) struct Family {
    /// Name without prefix, unit and `_total`.
    pub(super) name: &'static str,
    /// One sentence for `# HELP`; the exporter adds the full stop.
    pub(super) help: &'static str,
    /// `bytes`, or nothing.
    pub(super) unit: Option<&'static str>,
    /// Counter or gauge.
    pub(super) shape: Shape,
    /// Labels beside `shard`.
    pub(super) labels: Labels,
    /// Where the values are.
    pub(super) read: Read,
}

/// Every family but the lag and the times, which the exporter computes.
pub(super) fn families() -> Vec<Family> {
    let mut all = labelled();
    all.extend(of_tls());
    all.extend(Event::ALL.iter().map(|&event| Family {
        name: event.label(),
        help: event.help(),
        unit: None,
        shape: Shape::Counter,
        labels: Labels::None,
        read: Box::new(move |m, _| m.event(event)),
    }));
    all.extend(Gauge::ALL.iter().map(|&gauge| Family {
        name: gauge.label(),
        help: gauge.help(),
        unit: gauge.unit(),
        shape: Shape::Gauge,
        labels: Labels::None,
        read: Box::new(move |m, _| m.gauge(gauge)),
    }));
    all
}

fn labelled() -> Vec<Family> {
    let kinds = Labels::One(
        "kind",
        RequestKind::ALL.iter().map(|kind| kind.label()).collect(),
    );
    let verdicts = Labels::One("verdict", Verdict::ALL.iter().map(|v| v.label()).collect());
    let reasons = Labels::One(
        "reason",
        Skip::ALL.iter().map(|skip| skip.label()).collect(),
    );
    let mut transferred = counter(
        "transferred",
        "Bytes by side and direction",
        Labels::SideFlow,
        |m, at| m.bytes[at / Flow::COUNT][at % Flow::COUNT].get(),
    );
    transferred.unit = Some("bytes");
    let mut connections = counter(
        "connections",
        "Open connections by side",
        sides(),
        |m, at| m.connections[at].get(),
    );
    connections.shape = Shape::Gauge;
    vec![
        counter(
            "client_requests",
            "Requests of clients by kind",
            kinds,
            |m, at| m.requests[at].get(),
        ),
        transferred,
        counter(
            "verdicts",
            "What the source's answers meant for writes",
            verdicts,
            |m, at| m.verdicts[at].get(),
        ),
        counter(
            "skipped_writes",
            "Writes not sent to the target by reason",
            reasons,
            |m, at| m.skipped[at].get(),
        ),
        connections,
        counter(
            "connects_failed",
            "Connections that could not be opened",
            sides(),
            |m, at| m.connects_failed[at].get(),
        ),
        counter(
            "protocol_errors",
            "Malformed or forbidden bytes by side",
            sides(),
            |m, at| m.protocol_errors[at].get(),
        ),
        counter(
            "backpressure_pauses",
            "Times that reading from a side stopped because the other did not keep up",
            sides(),
            |m, at| m.pauses[at].get(),
        ),
    ]
}

fn of_tls() -> Vec<Family> {
    let mut expiry = counter(
        "tls_certificate_expiry",
        "When the certificate shown to a side expires, in seconds since 1970; 0: none is shown",
        sides(),
        |m, at| m.tls_expiry_s[at].get(),
    );
    (expiry.shape, expiry.unit) = (Shape::Gauge, Some("seconds"));
    vec![
        counter(
            "tls_handshakes",
            "TLS handshakes that ended well, by side",
            sides(),
            |m, at| m.tls_handshakes[at].get(),
        ),
        counter(
            "tls_failures",
            "TLS connections that failed, by side and reason",
            Labels::SideTlsFailure,
            |m, at| m.tls_failures[at / TlsFailure::COUNT][at % TlsFailure::COUNT].get(),
        ),
        expiry,
    ]
}

fn sides() -> Labels {
    Labels::One("side", Side::ALL.iter().map(|side| side.label()).collect())
}

fn counter(
    name: &'static str,
    help: &'static str,
    labels: Labels,
    read: fn(&ShardMetrics, usize) -> u64,
) -> Family {
    Family {
        name,
        help,
        unit: None,
        shape: Shape::Counter,
        labels,
        read: Box::new(read),
    }
}
