# Texts of the auditor's pages and of the explorer of records.

audit = Audit
audit-about = The verdict on every log, what was found, checkpoints.
audit-good = Everything is in order
audit-bad = Something is wrong
audit-logs = Logs
audit-log = Log
audit-verdict = Verdict
audit-records = Records
audit-last = Newest record
audit-checkpoint = Checkpoint
audit-head = { $size } records, signatures: { $signatures }
audit-cosigned = Cosigned
audit-cosigned-size = { $size ->
    [one] one record
   *[other] { $size } records
}
audit-cosigned-not = Not known here
audit-cosigned-means = A cosignature says: at that time this auditor had seen the log up to there, and everything that it had seen of it before was still in it, unchanged. Who shows somebody another history cannot show these cosignatures with it. It does not say that the records are right: the verdict does. What stands here are the cosignatures that this node knows: of the logs of others its own, of its own log those of the other auditors.
audit-cosigned-newest = The newest cosignature is of { $time }, { $minutes ->
    [0] less than a minute ago
    [one] one minute ago
   *[other] { $minutes } minutes ago
}. A log that does not grow gets no new one.
audit-cosigned-none = No cosignature is known here.
audit-findings = Findings
audit-no-findings = Nothing was found.
finding-count = How many
finding-records = Records
finding-by = Found in
audit-evidence = Evidence
audit-standing = Not settled yet
audit-tables = Published figures, counted again
audit-table-same = The same
audit-table-differs = Differs
audit-table-waits = Not counted again yet
audit-check = Check something
audit-check-about = A QR, a proof, a checkpoint, a record or an export: is it genuine?
check-lead = Paste the text of a QR, a proof file, a checkpoint or a record, or drop a file or picture here. Nothing is kept.
check-text = Text
check-file = File or picture
check-file-hint = It is checked at once.
check-no-code = No code and no text could be read in it.
check-now = Check
check-genuine = genuine
check-not-genuine = not proved
check-outside = Who signs in as an auditor learns more.
export = An export
export-lead = The directory that voucher-node export has written, as it is. It stays on this computer: of each log only the checkpoint is sent, and each tile is held byte by byte against this auditor's own verified copy. The readable lines and the Parquet files beside the logs are not looked at.
export-folder = Directory
export-hint = Choose it, or drop it anywhere on this page. This compares it with what this node holds. Who does not want to trust this node judges it with:
export-why = Why
export-reads = The export is being read.
export-step = { $log }: { $size } records are being compared.
export-tag-good = The same
export-tag-bad = Not genuine
export-tag-wait = Not judged
export-good = All { $size } records are as this auditor holds them, and so is the signed checkpoint.
export-longer = The log's key has signed { $size } records, and this auditor holds { $known } of them. Those are the same; beyond them nothing is judged.
export-unknown = This auditor holds no log of this name.
export-cosigned = Cosigned over { $size } records by: { $by }
export-differs = { $file } is not what this auditor holds.
export-missing = { $file } is missing.
export-unreadable = { $file } cannot be read.
export-stopped = It was not looked further.
export-no-head = { $file } is no checkpoint that a key of this log has signed.
export-other = { $file } is signed, and is of another history than this auditor holds: the log's key has signed two. Keep this export, it is evidence.
export-all-good = Every log of this export is as this auditor holds it.
export-all-bad = This export is not what this auditor holds.
export-all-wait = Nothing in this export differs from what this auditor holds, but not all of it could be judged.
export-others = Other files below logs/, not looked at: { $count }
export-none = This is no export: it has no export.json that names logs.
export-away = The node does not answer. Nothing can be said of the export; choose it again later.
export-signed-out = The session is over. Sign in again, then choose the export again.
export-refused = The node answers with status { $status }. Nothing can be said of the export.
export-failed = The check broke off. Nothing can be said of the export.
records = Records
records-about = Every log record by record, and the way of each voucher.
records-find = Voucher or record
records-find-now = Find
records-of = { $log }: { $size ->
    [one] one record
   *[other] { $size } records
}
records-older = Older records
record = Record
record-at = Time
record-says = What it says
record-role = Acting as
record-operator = Operator (pseudonym)
record-id = Digest
record-whole = The whole record
record-proof = Proof to keep
record-unknown = A format that this node does not know
record-not-counting = This record does not count.
voucher-in-time = In time
voucher-custodian = Held by
voucher-path = Its way
voucher-notes = Noted beside it
voucher-aside = Records that do not count or wait
voucher-contested = Two histories touch this voucher.
voucher-waiting = Some of its records wait for others.
voucher-complete = Complete as far as these logs are known here:

verdict-good = In order
verdict-rules-broken = Rules broken
verdict-upgrade-needed = This node is too old for it
verdict-forked = Two histories

finding-fork = Two histories of one log
finding-root-mismatch = Entries do not fit the signed root
finding-bad-record = A record is not well-formed
finding-clock-went-back = The clock went back
finding-rule-broken = A rule was broken
finding-second-successor = Two records follow the same one
finding-bad-presentation = A holder's signature does not verify
finding-presentation-twice = A presentation was used twice
finding-statistics-differ = Published figures differ from the logs
finding-taken-back-wrongly = Taken back without right
finding-settled-before-known = Settled before a change became known
finding-use-disputed = The holder denies a use
finding-not-conserved = The stock does not add up
finding-overlapping-presence = One person at two hospitals at once
finding-back-dated = Dated before the log was seen without it
finding-used-after-block = Used after the holder was blocked
finding-examined-before-issue = Used or examined before it was issued
finding-outlier-hospital = A hospital's week is far from its peers'
finding-assisted-share = Mostly signed with printed cards

text-kind-personal-qr = Personal QR
text-kind-voucher-qr = Voucher QR
text-kind-proof = Proof
text-kind-checkpoint = Checkpoint
text-kind-record = Record
text-kind-unknown = Unknown text

fact-age-secs = Age in seconds
fact-at = Time
fact-blocked = Person blocked
fact-community = Community
fact-cosigned-by = Cosigned by
fact-current = The newest QR
fact-folded-here = Records known here
fact-held-here = Held here
fact-in-time = In time
fact-index = Place in the log
fact-institution = Institution
fact-problem = Problem
fact-record-id = Digest of the record
fact-role = Role
fact-root = Root
fact-service = Service
fact-signature = Signed by
fact-signed-at = Signed at
fact-size = Size of the log
fact-stage = State
fact-state = State
fact-step = What for
fact-valid-until = Valid until
fact-verdict = Verdict
fact-voucher = Voucher

held-same = Yes, this very history
held-fewer = Fewer records are held here: nothing can be said
held-other = No, another history: the log's key has signed two. Keep this text, it is evidence

body-registrar = Register of members and people
body-programme = Programme
body-statistics = Figures published
body-heartbeat = Time has passed
body-finding = Finding
body-operator-insisted = An operator went on against a warning
body-approved = A second person consented

step-generated = Generated
step-sent = Sent to the community
step-encoded = The community made its QR
step-issued = Issued to the holder
step-handed-over = Handed to another voucher module
step-booked = Booking asked for
step-booking-confirmed = Booking confirmed
step-booking-declined = Booking declined
step-booking-released = Booking given up
step-booking-lapsed = Booking lapsed
step-use-confirmed = Use confirmed
step-use-aborted = Use undone
step-exam-completed = Examination complete
step-redemption-claimed = Redemption claimed
step-redeemed = Redeemed
step-claim-rejected = Claim rejected
step-returned = Given back
step-voided = Voided
step-reclaimed = Taken back
step-reversed = Redemption reversed
step-resolved = Decided which history stands

note-cancel-requested = Cancelling asked for
note-move-requested = Moving asked for
note-use-presented = Presented at the hospital
note-help-requested = Help asked for
note-use-disputed = Use denied by the holder
note-void-requested = Asked back by the issuer
note-compensation-granted = Hospital paid
note-verified = Checked
note-no-show = Did not come
note-qr-retired = QR retired
note-qr-restored = QR restored
